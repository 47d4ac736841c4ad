"""The check's runs: what towers answer on probes, together and one image at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from exporter_service.specs.probes import Probe
from service_kit.artifacts.manifest import Tower
from service_kit.artifacts.proof_file import Answers


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


def one_by_one(
    session: Any,
    towers: Sequence[Tower],
    probe: Probe,
    behind: Mapping[int, str] | None = None,
) -> Answers:
    """Returns every output of every tower when each element of the batch comes alone.

    Raises:
        ValueError: an output has not one row for it; that totals agree would prove nothing.
    """
    count = len(next(iter(probe.values())))
    # All towers again: another set of tensors would be optimized and compiled anew.
    singles = [
        answers(session, towers, {name: batch[i : i + 1] for name, batch in probe.items()}, behind)
        for i in range(count)
    ]
    for tower in singles:
        for name, value in (item for outputs in tower for item in outputs.items()):
            if value.shape[:1] != (1,):
                raise ValueError(f"output {name} has shape {list(value.shape)} for one image")
    return [
        {
            spec.name: np.concatenate([single[position][spec.name] for single in singles])
            for spec in tower.outputs
        }
        for position, tower in enumerate(towers)
    ]
