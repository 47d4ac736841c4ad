"""What is known of a model and its versions at one moment."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from inference_service.models.servable import Servable


class State(enum.Enum):
    """What the server does with a version."""

    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """A version's state, the reason of a failure, and its servable while it has one.

    `retry_in` are the seconds until a failed load is tried again; None: it is not.
    """

    version: int
    state: State
    reason: str
    servable: Servable | None
    leases: int = 0
    retry_in: float | None = None


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model's versions in order, and its labels; `default_version` is 0 when none is served."""

    name: str
    default_version: int
    versions: tuple[VersionStatus, ...]
    labels: Mapping[str, int]
