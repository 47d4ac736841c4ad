"""How waiting requests become batches. Values in, values out: no clock, no thread."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request in a card's queue: its images, how many are done, and what it may share with.

    Only requests of equal `kind` (trailing shapes and dtypes) go into one batch.
    """

    images: int
    done: int
    kind: Hashable


@dataclass(frozen=True, slots=True)
class Slice:
    """Images `start` to `stop` of the request at `position` in the queue."""

    position: int
    start: int
    stop: int

    @property
    def images(self) -> int:
        """Number of images in the slice."""
        return self.stop - self.start


def next_batch(queue: Iterable[Waiting], limit: int) -> list[Slice]:
    """Returns the slices of the next batch, in the order of the queue.

    Takes from the front until `limit` images are reached or another kind comes; a request
    that is larger than what is left gives its first images and keeps its place. `queue` is
    read only as far as needed.
    """
    batch: list[Slice] = []
    room = limit
    kind: Hashable = None
    for position, request in enumerate(queue):
        if room == 0 or (batch and request.kind != kind):
            break
        kind = request.kind
        stop = min(request.images, request.done + room)
        batch.append(Slice(position, request.done, stop))
        room -= stop - request.done
    return batch
