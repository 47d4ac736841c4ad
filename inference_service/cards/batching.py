"""How waiting requests become batches. Values in, values out: no clock, no thread."""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple, Protocol

# Of so many batches in a row one begins with bulk, if bulk waits: a quarter of the batches keeps
# it moving under any load.
BULK_EVERY = 4


class Priority(enum.Enum):
    """Classes of requests."""

    INTERACTIVE = "INTERACTIVE"
    BULK = "BULK"

    # Enum's own is computed in Python, from the name.
    __hash__ = object.__hash__


class Waiting(Protocol):
    """A request in a card's queue: its images, how many are done, and what it may share with.

    Only requests of equal `kind` (trailing shapes and dtypes) go into one batch.
    """

    @property
    def images(self) -> int:
        """Of the request."""

    @property
    def done(self) -> int:
        """Of these, those that are in a batch or were in one."""

    @property
    def kind(self) -> Hashable:
        """Equal for those that may share a batch."""


class Slice(NamedTuple):
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

    The first request is always in it; of those behind it the ones of its kind, until `limit`
    images are reached. A request that is larger than what is left gives its first images and
    keeps its place. `queue` is read only as far as needed.
    """
    batch: list[Slice] = []
    room = limit
    kind: Hashable = None
    for position, request in enumerate(queue):
        if not batch:
            kind = request.kind
        elif request.kind != kind:
            continue
        stop = min(request.images, request.done + room)
        batch.append(Slice(position, request.done, stop))
        room -= stop - request.done
        if room == 0:
            break
    return batch


def leader(*, interactive: bool, bulk: bool, passed_over: int) -> Priority:
    """Returns the class that the next batch begins with.

    Args:
        interactive: whether interactive requests wait; they or bulk do.
        bulk: whether bulk requests wait.
        passed_over: batches that began with the other class since bulk waits.
    """
    if bulk and (not interactive or passed_over >= BULK_EVERY - 1):
        return Priority.BULK
    return Priority.INTERACTIVE


def due_at(arrived: float, deadline: float | None, delay: float, needed: float = 0.0) -> float:
    """Returns when a request should wait no longer for company, on the clock of its times.

    A request spends at most half of its time on waiting, and no more than leaves the seconds that
    are needed to answer it, as far as that is known.
    """
    if deadline is None:
        return arrived + delay
    left = deadline - arrived
    return arrived + max(0.0, min(delay, left / 2, left - needed))


def padded_size(images: int, sizes: Sequence[int]) -> int:
    """Returns the smallest of `sizes` that holds a batch; its own size if none does."""
    return min((size for size in sizes if size >= images), default=images)
