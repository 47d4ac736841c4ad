"""The steps of a conversion, as its caller sees them."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass


class Step(enum.Enum):
    """In the order in which they happen; each is announced when it begins."""

    QUEUED = "waits for a free process"
    START = "starts TensorFlow"
    READ = "reads the checkpoint"
    BUILD = "builds the towers"
    RESTORE = "restores the weights"
    FREEZE = "freezes the graph"
    FORMAT = "writes another format"
    CHECK = "checks the numbers"
    PUBLISH = "publishes the artifact"

    @property
    def fraction(self) -> float:
        """Share of all steps that are done when this one begins, 0 to 1."""
        return list(Step).index(self) / len(Step)


@dataclass(frozen=True, slots=True)
class Progress:
    """A step that begins, with what a person would like to know about it."""

    step: Step
    message: str = ""


Report = Callable[[Progress], None]
