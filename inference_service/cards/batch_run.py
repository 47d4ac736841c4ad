"""One batch on its way through a card's engine, and those who write it down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class BatchRun:
    """A batch; its times are of the card's clock, in seconds.

    Attributes:
        card: where it ran.
        images: in the batch.
        size: that it was padded to.
        began: when it had been taken from the queue.
        stacked: when its inputs were one tensor; None: it did not come so far.
        computed: when the engine came back; None likewise.
        ended: when its outputs had been checked, or it failed.
        error: words of what it failed with; empty: it did not.
        error_type: the reason of an error of ours, or the name of its class.
    """

    card: int
    images: int
    size: int
    began: float
    stacked: float | None = None
    computed: float | None = None
    ended: float = 0.0
    error: str = ""
    error_type: str = ""

    @property
    def input_seconds(self) -> float:
        """For stacking the inputs; 0 when it did not come so far."""
        return 0.0 if self.stacked is None else self.stacked - self.began

    @property
    def compute_seconds(self) -> float:
        """For the engine; 0 likewise."""
        return (
            0.0 if self.stacked is None or self.computed is None else self.computed - self.stacked
        )

    @property
    def output_seconds(self) -> float:
        """For checking the outputs; 0 likewise."""
        return 0.0 if self.computed is None else self.ended - self.computed


class BatchTrace(Protocol):
    """Of one request: has its waiting and its batches written down. Any thread may call it."""

    def queued(self, card: int, at: float) -> None:
        """The request waits for a card since a time of the card's clock; costs next to nothing."""

    def unqueued(self, card: int, at: float) -> None:
        """It waits for that card no more, and has not been in a batch there."""

    def write(self, run: BatchRun, parts: Sequence[TracedPart]) -> None:
        """Writes a batch that has ended, for all traced requests that were part of it.

        Args:
            run: the batch.
            parts: what is traced of it; one is this request's. Runs on the card's thread.
        """


@dataclass(frozen=True, slots=True)
class TracedPart:
    """What a batch had of one traced request."""

    trace: BatchTrace
    images: int
