"""What a card is made of, and what it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from inference_service.cards.batch_limit import BatchTiming
from inference_service.cards.batch_tensors import Tensors
from inference_service.engine.devices import Placement
from service_kit.artifacts.manifest import Tower


@dataclass(frozen=True, slots=True)
class CardLimits:
    """What a card takes.

    Attributes:
        batch: images in one batch.
        queue_images: images outstanding; see `Places` for who may take how many of them.
        queue_bytes: bytes of inputs outstanding; the same holds.
        max_queue_delay: seconds that a request may wait for company.
        padded_sizes: sizes that batches are padded to; empty: they are not.
        elements: of the inputs of a request, and of a batch; 0: any number.
    """

    batch: int
    queue_images: int = 1024
    queue_bytes: int = 256 * 2**20
    max_queue_delay: float = 0.0
    padded_sizes: tuple[int, ...] = ()
    elements: int = 0

    def can_share(self, inputs: Tensors) -> bool:
        """Whether a full batch of such images has no more elements than it may."""
        if not self.elements:
            return True
        images = max(1, max((len(array) for array in inputs.values()), default=1))
        elements = sum(array.size for array in inputs.values())
        return elements * self.batch <= self.elements * images


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
        max_batch: most images that the graph takes in one run; 0: any number.
        packs: whether requests may share a batch.
        whole: requests run in one piece, and get the outputs whatever rows they have.
        max_elements: of a batch's inputs, by what warming measured; 0: not bounded by it.
    """

    tower: Tower
    placement: Placement
    run: Callable[[Tensors], Tensors]
    blank: Tensors
    timings: tuple[BatchTiming, ...]
    max_batch: int = 0
    packs: bool = True
    whole: bool = False
    max_elements: int = 0
