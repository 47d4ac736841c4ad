"""Which cards get a request that names none. Values in, values out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple


class Share(NamedTuple):
    """Images `start` to `stop` of a request, for one card."""

    card: int
    start: int
    stop: int


def choose_card(outstanding: Mapping[int, int], turn: int) -> int:
    """Returns the card with the fewest images that wait or run.

    Args:
        outstanding: images waiting or running, by card; at least one card.
        turn: grows with every request; among equals the first card at or after it is taken,
            so that ties rotate.
    """
    cards = sorted(outstanding)
    first = turn % len(cards)
    return min(cards[first:] + cards[:first], key=outstanding.__getitem__)


def spread(images: int, limit: int, outstanding: Mapping[int, int], turn: int) -> list[Share]:
    """Returns which card computes which images of a request, in the order of the images.

    A request that fits into one batch goes to one card. A larger one is divided evenly among
    the least busy card and those that are idle, though into no more parts than it has batches.

    Args:
        images: in the request, at least 1.
        limit: images of the largest batch.
        outstanding: as for `choose_card`.
        turn: as for `choose_card`.
    """
    first = choose_card(outstanding, turn)
    if images <= limit:
        return [Share(first, 0, images)]
    idle = [card for card in sorted(outstanding) if outstanding[card] == 0 and card != first]
    cards = [first, *idle][: math.ceil(images / limit)]
    bounds = [images * at // len(cards) for at in range(len(cards) + 1)]
    return [
        Share(card, start, stop)
        for card, start, stop in zip(cards, bounds, bounds[1:], strict=False)
    ]
