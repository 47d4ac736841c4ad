"""Which card gets a request that names none. Values in, values out."""

from __future__ import annotations

from collections.abc import Sequence


def choose_card(outstanding: Sequence[int], turn: int) -> int:
    """Returns the card with the fewest outstanding images.

    Args:
        outstanding: images waiting or running, by card; at least one card.
        turn: grows with every request; among equals the first card at or after it is taken,
            so that ties rotate.
    """
    count = len(outstanding)
    return min(range(count), key=lambda card: (outstanding[card], (card - turn) % count))
