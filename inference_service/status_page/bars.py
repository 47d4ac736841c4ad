"""The bars of an answer. Values in, values out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from inference_service.wire.scored_class import ScoredClass


@dataclass(frozen=True, slots=True)
class Bar:
    """A class, its score as text, and how much of the width it fills, 0 to 100."""

    name: str
    score: str
    filled: float


def bars(classes: Sequence[ScoredClass]) -> tuple[Bar, ...]:
    """Returns a bar a class, in their order.

    Scores that are probabilities fill their share of the width; others are set against the
    largest of them, and nothing is filled for what is negative or no number.
    """
    finite = [one.score for one in classes if math.isfinite(one.score)]
    shares = len(finite) == len(classes) and all(0 <= score <= 1 for score in finite)
    largest = 1.0 if shares else max(*finite, 0.0) if finite else 0.0
    return tuple(
        Bar(
            name=one.label or f"class {one.index}",
            score=f"{100 * one.score:.2f}%" if shares else f"{one.score:.5g}",
            filled=_filled(one.score, largest),
        )
        for one in classes
    )


def _filled(score: float, largest: float) -> float:
    if not math.isfinite(score) or score <= 0 or largest <= 0:
        return 0.0
    return round(100 * (score / largest), 2)
