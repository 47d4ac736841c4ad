"""Whether what an element of a batch gets depends on the batch: on its size, or on the others.

Processors add up in another order for another size of batch. So where a batch and its elements by
themselves differ, batches of the same size with other elements tell whether these matter; if not,
it is rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from exporter_service.parity.comparison import Answers, answers, compared, label_of
from exporter_service.parity.proof_file import Proof
from exporter_service.specs.probes import Probe
from service_kit.artifacts.manifest import Conversion, ParityComparison, Tower

# Share of the magnitude that batches of two sizes may differ by: float32 has seven digits, and sums
# that cancel lose some.
_ROUNDING = 1e-3
# Elements of a batch that are run by themselves.
_MAX_ALONE = 8


def compare_alone(
    session: Any, conversion: Conversion, proof: Proof, name: str, found: Answers
) -> list[ParityComparison]:
    """Returns comparisons of a batch with its first elements one by one, or in other company.

    Args:
        session: has the graph.
        conversion: its towers, and the share that may differ.
        proof: has the probes.
        name: of the probe.
        found: what the whole batch got.

    Raises:
        ValueError: an output has not one row for one element.
    """
    probe, share = proof.probes[name], conversion.parity.tolerance
    return _compared(session, conversion.towers, probe, share, found, name, proof.behind)


def equals_its_elements(session: Any, tower: Tower, probe: Probe, share: float) -> bool:
    """Returns whether a batch gets what its first elements get one by one, but for rounding.

    Raises:
        ValueError: an output has not one row for one element.
        OpError: the batch cannot be run.
    """
    found = answers(session, [tower], probe)
    size = len(next(iter(probe.values())))
    if any(value.shape[:1] != (size,) for value in found[0].values()):
        return False
    return all(one.passed for one in _compared(session, [tower], probe, share, found, "", {}))


def _compared(
    session: Any,
    towers: Sequence[Tower],
    probe: Probe,
    share: float,
    found: Answers,
    name: str,
    behind: Mapping[int, str],
) -> list[ParityComparison]:
    first = [{key: value[:_MAX_ALONE] for key, value in one.items()} for one in found]

    def compare(subject: str, others: Answers, share: float) -> list[ParityComparison]:
        return [
            compared(f"{label_of(tower)} in a batch with {subject}", name, outputs, other, share)
            for tower, outputs, other in zip(towers, first, others, strict=True)
        ]

    singles = _one_by_one(session, towers, probe, behind)
    alone = compare("alone", singles, share)
    if all(one.passed for one in alone):
        return alone
    company = []
    for copies in (True, False):
        others = _in_other_company(session, towers, probe, behind, copies=copies)
        company += compare("other company", others, share)
    if all(one.passed for one in company):
        alone = compare("alone", singles, max(share, _ROUNDING))
    return [*company, *alone]


def _one_by_one(
    session: Any,
    towers: Sequence[Tower],
    probe: Probe,
    behind: Mapping[int, str] | None = None,
) -> Answers:
    """Returns every output of every tower when each of a batch's first elements comes alone.

    Raises:
        ValueError: an output has not one row for it; that totals agree would prove nothing.
    """
    count = min(_MAX_ALONE, len(next(iter(probe.values()))))
    # All towers again: another set of tensors would be optimized and compiled anew.
    singles = [
        answers(session, towers, {name: batch[i : i + 1] for name, batch in probe.items()}, behind)
        for i in range(count)
    ]
    for tower in singles:
        for name, value in (item for outputs in tower for item in outputs.items()):
            if value.shape[:1] != (1,):
                raise ValueError(f"output {name} has shape {list(value.shape)} for one image")
    return _joined(singles, towers)


def _in_other_company(
    session: Any,
    towers: Sequence[Tower],
    probe: Probe,
    behind: Mapping[int, str] | None = None,
    *,
    copies: bool,
) -> Answers:
    """Returns what each of a batch's first elements gets in a batch of the same size with others.

    Args:
        session: has the graph.
        towers: its tensors.
        probe: input name -> batch.
        behind: as for `answers`.
        copies: the others are the element itself; else they are zeros.
    """
    size = len(next(iter(probe.values())))
    found = []
    for i in range(min(_MAX_ALONE, size)):
        others = {name: np.zeros_like(batch) for name, batch in probe.items()}
        for name, batch in probe.items():
            others[name][slice(None) if copies else i] = batch[i]
        outputs = answers(session, towers, others, behind)
        found.append([{name: one[i : i + 1] for name, one in each.items()} for each in outputs])
    return _joined(found, towers)


def _joined(found: Sequence[Answers], towers: Sequence[Tower]) -> Answers:
    return [
        {
            spec.name: np.concatenate([one[position][spec.name] for one in found])
            for spec in tower.outputs
        }
        for position, tower in enumerate(towers)
    ]
