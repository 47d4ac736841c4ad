"""What a card is made of, what it takes, and what it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from inference_service.cards.batch_limit import BatchTiming
from inference_service.cards.batch_run import BatchRun
from inference_service.cards.batch_tensors import Tensors
from inference_service.engine.devices import Placement
from service_kit.artifacts.manifest import Tower


@dataclass(frozen=True, slots=True)
class CardLimits:
    """What a card takes.

    Attributes:
        batch: images in one batch.
        queue_images: images outstanding; see `Admission` for who may take how many of them.
        queue_bytes: bytes of inputs outstanding; the same holds.
        max_queue_delay: seconds that a request may wait for company.
        padded_sizes: sizes that batches are padded to; empty: they are not.
    """

    batch: int
    queue_images: int = 1024
    queue_bytes: int = 256 * 2**20
    max_queue_delay: float = 0.0
    padded_sizes: tuple[int, ...] = ()


@dataclass(slots=True)
class BatchCounts:
    """Batches of one size, and seconds to stack their inputs, run them and check their outputs."""

    batches: int = 0
    input_seconds: float = 0.0
    compute_seconds: float = 0.0
    output_seconds: float = 0.0


@dataclass(slots=True)
class CardCounts:
    """What became of requests; see the contract's message of that name.

    `by_size` has the batches by their number of images, without padding. The card's thread adds
    sizes at any time: others iterate over a copy.
    """

    answered_images: int = 0
    batches: int = 0
    failed_requests: int = 0
    expired_requests: int = 0
    cancelled_requests: int = 0
    refused_requests: int = 0
    non_finite_inputs: int = 0
    non_finite_outputs: int = 0
    busy_seconds: float = 0.0
    by_size: dict[int, BatchCounts] = field(default_factory=dict)

    def count_answered(self, images: int) -> None:
        """Counts a request of so many images that is answered."""
        self.answered_images += images

    def count_batch(self, run: BatchRun) -> None:
        """Counts a batch that was computed."""
        self.batches += 1
        self.busy_seconds += run.compute_seconds
        same = self.by_size.setdefault(run.images, BatchCounts())
        same.batches += 1
        same.input_seconds += run.input_seconds
        same.compute_seconds += run.compute_seconds
        same.output_seconds += run.output_seconds


@dataclass(frozen=True, slots=True)
class CardSpec:
    """What a card is made of.

    Attributes:
        tower: what the card feeds and fetches.
        placement: where it runs.
        run: computes outputs by semantic name from inputs in the tower's dtypes; only the
            card's own thread calls it.
        blank: inputs of the smallest batch, which probe the card.
        timings: what warming measured, smallest batch first.
        fixed_batch: the only batch size that the graph takes; 0: it takes any.
        packs: whether requests may share a batch.
        whole: requests run in one piece, and get the outputs whatever rows they have.
    """

    tower: Tower
    placement: Placement
    run: Callable[[Tensors], Tensors]
    blank: Tensors
    timings: tuple[BatchTiming, ...]
    fixed_batch: int = 0
    packs: bool = True
    whole: bool = False
