"""The check's runs: what towers answer on probes, together and one image at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from exporter_service.specs.probes import Probe
from service_kit.artifacts.manifest import Tower
from service_kit.artifacts.proof_file import Answers


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
