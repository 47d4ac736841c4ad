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
    """

    batch: int
    queue_images: int = 1024
    queue_bytes: int = 256 * 2**20
    max_queue_delay: float = 0.0
    padded_sizes: tuple[int, ...] = ()


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
    """

    tower: Tower
    placement: Placement
    run: Callable[[Tensors], Tensors]
    blank: Tensors
    timings: tuple[BatchTiming, ...]
    max_batch: int = 0
    packs: bool = True
    whole: bool = False
