"""Which engines may run an artifact, in which order, and why. Values in, values out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from inference_service.engine import Precision
from inference_service.engine.installed import AUTO, OPENVINO, TENSORFLOW


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine to try, and why it is this one's turn."""

    name: str
    reason: str


def candidates(
    asked: str, installed: Collection[str], *, on_gpus: bool, precision: Precision = Precision.F32
) -> tuple[Candidate, ...]:
    """Returns the engines to try, the first one first; none: nothing is installed that could.

    It is a rule and not a race: what runs does not depend on what a machine was busy with.

    Args:
        asked: a name, or `auto`.
        installed: names of the engines that are there.
        on_gpus: whether cards run on GPUs.
        precision: that the operator asked for.
    """
    if asked != AUTO:
        return (Candidate(asked, "asked for"),)
    if on_gpus:
        found = [Candidate(TENSORFLOW, "cards run on GPUs")]
    elif precision is not Precision.F32:
        found = [Candidate(OPENVINO, f"{precision.value} is asked for")]
    else:
        found = [
            Candidate(OPENVINO, "the fastest on the CPU"),
            Candidate(TENSORFLOW, "OpenVINO is not installed"),
        ]
    return tuple(one for one in found if one.name in installed)
