"""What a card is and does at one moment, as one value for everybody who reports it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from inference_service.cards.batch_run import BatchRun
from inference_service.cards.card_spec import CardLimits, CardSpec


class Ending(enum.Enum):
    """How a request's share ended on a card."""

    ANSWERED = "ANSWERED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    REFUSED = "REFUSED"

    # Enum's own is computed in Python, from the name.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """Batches of one size, and seconds to stack their inputs, run them and check their outputs."""

    batches: int = 0
    input_seconds: float = 0.0
    compute_seconds: float = 0.0
    output_seconds: float = 0.0

    def __add__(self, other: BatchCounts) -> BatchCounts:
        """Returns the counts of both."""
        return BatchCounts(
            self.batches + other.batches,
            self.input_seconds + other.input_seconds,
            self.compute_seconds + other.compute_seconds,
            self.output_seconds + other.output_seconds,
        )


@dataclass(frozen=True, slots=True)
class RunCounts:
    """What an engine has computed.

    Attributes:
        by_size: batches by their number of images, without padding.
        non_finite_inputs: images with a NaN or an infinity in the input.
        non_finite_outputs: images with one in the output.
    """

    by_size: Mapping[int, BatchCounts] = field(default_factory=dict)
    non_finite_inputs: int = 0
    non_finite_outputs: int = 0

    def with_batch(
        self, run: BatchRun, *, non_finite_inputs: int, non_finite_outputs: int
    ) -> RunCounts:
        """Returns the counts with one more batch, which was computed."""
        one = BatchCounts(1, run.input_seconds, run.compute_seconds, run.output_seconds)
        same = self.by_size.get(run.images, BatchCounts())
        return RunCounts(
            {**self.by_size, run.images: same + one},
            self.non_finite_inputs + non_finite_inputs,
            self.non_finite_outputs + non_finite_outputs,
        )

    @property
    def batches(self) -> int:
        """Batches that were computed."""
        return sum(one.batches for one in self.by_size.values())

    @property
    def busy_seconds(self) -> float:
        """Seconds that the engine took for them."""
        return sum(one.compute_seconds for one in self.by_size.values())


@dataclass(frozen=True, slots=True)
class CardCounts:
    """What became of requests since the card was made; see the contract's message of that name."""

    answered_images: int = 0
    failed_requests: int = 0
    expired_requests: int = 0
    cancelled_requests: int = 0
    refused_requests: int = 0
    runs: RunCounts = field(default_factory=RunCounts)


@dataclass(frozen=True, slots=True)
class CardStatus:
    """A card at one moment: all of it was true at once.

    Attributes:
        spec: what the card is made of.
        limits: what it takes.
        counts: what became of requests so far; none of them is outstanding.
        outstanding_images: that wait, are being decoded or run, and that somebody waits for.
        outstanding_bytes: of their inputs.
        waiting_images: of these, those in the queue.
        healthy: whether the card takes requests.
        last_error: the engine's; empty: it never had one. A card that is not healthy has one.
    """

    spec: CardSpec
    limits: CardLimits
    counts: CardCounts
    outstanding_images: int
    outstanding_bytes: int
    waiting_images: int
    healthy: bool
    last_error: str

    @property
    def index(self) -> int:
        """The card's number in requests."""
        return self.spec.placement.card
