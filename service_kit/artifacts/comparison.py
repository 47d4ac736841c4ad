"""The check's numbers: how far two answers are apart, and how far they may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from service_kit.artifacts.manifest import ParityComparison

Array = npt.NDArray[Any]
# Below this magnitude a relative difference says nothing about float32.
_RELATIVE_FLOOR = 1e-6


def compared(
    subject: str, probe: str, found: Mapping[str, Array], wanted: Mapping[str, Array], share: float
) -> ParityComparison:
    """Returns the largest differences over all outputs of a tower.

    Args:
        subject: what is compared with what.
        probe: name of the batch.
        found: output name -> array.
        wanted: the reference, the same outputs.
        share: of the reference's largest magnitude that may differ; the magnitude counts as 1
            when it is less.
    """
    pairs = [_difference(found.get(name), reference) for name, reference in wanted.items()]
    # The output that is furthest from passing speaks for all.
    worst = max(pairs, key=lambda pair: np.nan_to_num(pair[0] / pair[2], nan=np.inf))
    return ParityComparison(subject, probe, worst[0], worst[1], share * worst[2])


def _difference(found: Array | None, reference: Array) -> tuple[float, float, float]:
    """Returns the largest absolute and relative difference, and the reference's magnitude."""
    if found is None or found.shape != reference.shape:
        return float("inf"), float("inf"), 1.0
    if not reference.size:
        return 0.0, 0.0, 1.0
    exact = np.asarray(reference, np.float64)
    difference = np.abs(np.asarray(found, np.float64) - exact)
    relative = difference / np.maximum(np.abs(exact), _RELATIVE_FLOOR)
    magnitude = max(1.0, float(np.nan_to_num(np.abs(exact), posinf=0.0).max()))
    return float(difference.max()), float(relative.max()), magnitude
