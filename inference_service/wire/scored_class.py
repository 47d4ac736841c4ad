"""A class of a model with its score, as servers rank and clients show it. Imports nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScoredClass:
    """A class by its position in the output, the output's value, and its label; "": none."""

    index: int
    score: float
    label: str
