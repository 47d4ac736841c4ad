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

    @property
    def batches(self) -> int:
        """Batches that were computed."""
        return sum(one.batches for one in self.by_size.values())

    @property
    def busy_seconds(self) -> float:
        """Seconds that the engine took for them."""
        return sum(one.compute_seconds for one in self.by_size.values())


class RunCounter:
    """Counts batches as they come; `counts` is what others get."""

    def __init__(self) -> None:
        """Has counted nothing."""
        # By images: batches and their seconds, as in `BatchCounts`.
        self._by_size: dict[int, list[float]] = {}
        self._non_finite_inputs = self._non_finite_outputs = 0

    def add(self, run: BatchRun, non_finite_inputs: int, non_finite_outputs: int) -> None:
        """Counts one more batch, which was computed."""
        sums = self._by_size.setdefault(run.images, [0, 0.0, 0.0, 0.0])
        sums[0] += 1
        sums[1] += run.input_seconds
        sums[2] += run.compute_seconds
        sums[3] += run.output_seconds
        self._non_finite_inputs += non_finite_inputs
        self._non_finite_outputs += non_finite_outputs

    def counts(self) -> RunCounts:
        """Returns what was counted so far."""
        by_size = {
            size: BatchCounts(int(sums[0]), *sums[1:]) for size, sums in self._by_size.items()
        }
        return RunCounts(by_size, self._non_finite_inputs, self._non_finite_outputs)


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
