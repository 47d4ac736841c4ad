"""The check's numbers: what towers answer on probes, and how far two answers are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter_service.specs.probes import Probe
from service_kit.artifacts.manifest import ParityComparison, Tower

Array = npt.NDArray[Any]
# Output name -> array, for each tower.
Answers = list[dict[str, Array]]
# Below this magnitude a relative difference says nothing about float32.
_RELATIVE_FLOOR = 1e-6


def label_of(tower: Tower) -> str:
    """Returns what a tower is called in comparisons."""
    return tower.scope or "frozen graph"


def answers(
    session: Any,
    towers: Sequence[Tower],
    probe: Probe,
    behind: Mapping[int, str] | None = None,
) -> Answers:
    """Returns every output of every tower, all fed and fetched in one call.

    Args:
        session: has the graph.
        towers: its tensors.
        probe: input name -> batch, the same for every tower.
        behind: tower index -> the tensor to feed in place of the (single) input.
    """
    feed = {}
    for tower in towers:
        for spec in tower.inputs:
            tensor = behind[tower.index] if behind else spec.tensor_name
            feed[tensor] = probe[spec.name]
    fetches = [[spec.tensor_name for spec in tower.outputs] for tower in towers]
    return [
        {spec.name: value for spec, value in zip(tower.outputs, values, strict=True)}
        for tower, values in zip(towers, session.run(fetches, feed), strict=True)
    ]


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
