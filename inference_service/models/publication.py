"""What the store has: versions of models, each with the fingerprint of its publication."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Model -> version -> fingerprint.
Fingerprints = Mapping[str, Mapping[int, str]]


@dataclass(frozen=True, slots=True)
class Publication:
    """A version as it stands in the store; republishing its number changes the fingerprint."""

    model: str
    version: int
    fingerprint: str
