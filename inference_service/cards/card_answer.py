"""What a card has answered, and how long each part of it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inference_service.cards.batch_tensors import Tensors


@dataclass(slots=True)
class CardAnswer:
    """Outputs by semantic name, and how they came about (times in seconds).

    What the batches took is divided into stacking their inputs, computing, and checking outputs.
    """

    outputs: Tensors
    card: int
    batch_size: int
    queue_seconds: float
    compute_seconds: float
    input_seconds: float = 0.0
    output_seconds: float = 0.0
    # When the last of its batches had ended, on the card's clock.
    ended: float = 0.0


def slowest(shares: Sequence[CardAnswer]) -> CardAnswer:
    """Returns the times of the share that took longest in each, and the largest batch.

    Args:
        shares: of one request, at least one.
    """
    first = shares[0]
    if len(shares) == 1:
        return first
    return CardAnswer(
        first.outputs,
        first.card,
        max(one.batch_size for one in shares),
        max(one.queue_seconds for one in shares),
        max(one.compute_seconds for one in shares),
        max(one.input_seconds for one in shares),
        max(one.output_seconds for one in shares),
        max(one.ended for one in shares),
    )
