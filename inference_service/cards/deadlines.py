"""What can still be answered in time. Values in, values out: no clock, no thread.

Times are seconds from now on. A request's `left` is what it has until its batch must have ended;
what an answer takes on its way to the caller has been taken off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from inference_service.cards.batching import BULK_EVERY, Priority, Waiting

# Seconds of a batch, by its images and the weight of each; see `Estimate`.
BatchSeconds = Callable[[int, float], float]


@dataclass(frozen=True, slots=True)
class Timed:
    """A request in a card's queue, and its time.

    Attributes:
        request: as the batching sees it.
        left: seconds until its batch must have ended; infinity: it may take any time.
        fills: it is not of the class that the next batch begins with, and only fills that up.
        weight: of each image; see `Estimate`.
    """

    request: Waiting
    left: float = math.inf
    fills: bool = False
    weight: float = 1.0

    @property
    def rest(self) -> int:
        """Images that are still to be computed."""
        return self.request.images - self.request.done


def seconds_of(images: float, limit: int, seconds: BatchSeconds, weight: float = 1.0) -> float:
    """Returns the seconds that images take in batches of `limit` and one of what is left."""
    full = int(images // limit)
    rest = math.ceil(images - full * limit)
    return (full * seconds(limit, weight) if full else 0.0) + (
        seconds(rest, weight) if rest else 0.0
    )


def can_be_in_time(one: Timed, limit: int, seconds: BatchSeconds) -> bool:
    """Whether a request is computed in time if its turn is now, and it is alone."""
    return seconds_of(one.rest, limit, seconds, one.weight) <= one.left


def images_ahead(
    priority: Priority,
    images: int,
    waiting: Mapping[Priority, float],
    limit: int,
    passed_over: int,
) -> float:
    """Returns the images that go before the last of a new request's, by their turns (`leader`).

    Args:
        priority: class of the request.
        images: that it has.
        waiting: images of each class.
        limit: images in a batch.
        passed_over: batches that began with interactive requests since bulk waits.
    """
    same = waiting[priority]
    batches = math.ceil((same + images) / limit)
    others = BULK_EVERY - 1
    if priority is Priority.INTERACTIVE:
        turns = (passed_over + batches - 1) // others
        return same + min(waiting[Priority.BULK], turns * limit)
    turns = max(0, others * batches - passed_over)
    return same + min(waiting[Priority.INTERACTIVE], turns * limit)


def lost(
    queue: Iterable[Timed], limit: int, seconds: BatchSeconds, begins: float
) -> Iterator[tuple[int, Timed]]:
    """Yields positions and requests that will not be reached in time, in order.

    What is lost takes no time from those behind it, since it is never run. All are taken to share
    batches, so that none is lost by this that could be reached.

    Args:
        queue: in the order of their turns.
        limit: images in a batch.
        seconds: of a batch.
        begins: seconds until the first of them can begin.
    """
    ahead = 0.0
    for position, one in enumerate(queue):
        total = ahead + one.rest * one.weight
        if one.left < math.inf and begins + seconds_of(total, limit, seconds) > one.left:
            yield position, one
        else:
            ahead = total
