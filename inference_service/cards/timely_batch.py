"""The next batch of requests that have deadlines. Values in, values out: no clock, no thread."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from inference_service.cards.batching import Slice
from inference_service.cards.deadlines import BatchSeconds, Timed, can_be_in_time, lost, seconds_of


@dataclass(frozen=True, slots=True)
class TimelyBatch:
    """The next batch, in the order of the queue, and the positions of those who are too late."""

    batch: Sequence[Slice]
    late: Sequence[int]


def timely_batch(
    queue: Iterable[Timed], limit: int, seconds: BatchSeconds, *, overloaded: bool
) -> TimelyBatch:
    """Returns the next batch, of which every image is computed in time.

    That is the batch of first come, first served among those that can still be done, if it is
    quick enough for all in it. If it is not, a smaller one with those who are in a hurry, if
    nobody who waits is lost by that; else the largest one, without those it takes too long for.
    Under overload that at once: batches must not shrink then, or ever more would come too late.

    Args:
        queue: in the order of their turns, those that fill up last; read as far as needed.
        limit: images in a batch.
        seconds: of a batch.
        overloaded: whether requests have been refused or dropped of late.
    """
    seen = _Seen(queue)
    batch = _first_come(seen, limit, seconds)
    if batch.is_late:
        smaller = None if overloaded else _hurried(batch, seen)
        batch = smaller or _largest(seen, limit, seconds)
    takes = batch.seconds
    late = [
        position
        for position, one in enumerate(seen.read)
        if position not in batch.parts
        and one.left < takes + seconds_of(one.rest, limit, seconds, one.weight)
    ]
    return TimelyBatch([batch.parts[position] for position in sorted(batch.parts)], late)


class _Seen:
    """A queue, and what has been read of it."""

    def __init__(self, queue: Iterable[Timed]) -> None:
        self.read: list[Timed] = []
        self._rest = iter(queue)

    def __iter__(self) -> Iterator[tuple[int, Timed]]:
        """Yields all with their positions, and reads on where what was read ends."""
        yield from enumerate(self.read)
        for one in self._rest:
            self.read.append(one)
            yield len(self.read) - 1, one


class _Batch:
    """A batch that is being put together, of requests of one kind."""

    def __init__(self, limit: int, time: BatchSeconds) -> None:
        self.limit, self.time = limit, time
        self.parts: dict[int, Slice] = {}
        self.tightest = math.inf
        self._images = 0
        self._first: Timed | None = None

    @property
    def room(self) -> int:
        """Images that there is room for."""
        return self.limit - self._images

    @property
    def seconds(self) -> float:
        """What it takes."""
        return self.time(self._images, self._first.weight) if self._first else 0.0

    @property
    def is_late(self) -> bool:
        """Whether that is too long for one of its requests."""
        return self.seconds > self.tightest

    def takes(self, one: Timed) -> bool:
        """Whether there is room for some of it, beside what is there."""
        kind = one.request.kind
        return self.room > 0 and (self._first is None or self._first.request.kind == kind)

    def slack(self, one: Timed) -> float:
        """Returns the seconds that this batch may take for it: what comes after takes time, too."""
        after = one.rest - min(one.rest, self.room)
        return one.left - seconds_of(after, self.limit, self.time, one.weight)

    def fits(self, one: Timed) -> bool:
        """Whether the batch is quick enough with it, for it and for all others."""
        takes = self.time(self._images + min(one.rest, self.room), one.weight)
        return takes <= min(self.tightest, self.slack(one))

    def add(self, position: int, one: Timed) -> None:
        """Adds as much of it as there is room for."""
        self._first = self._first or one
        self.tightest = min(self.tightest, self.slack(one))
        done, images = one.request.done, min(one.rest, self.room)
        self.parts[position] = Slice(position, done, done + images)
        self._images += images


def _first_come(seen: _Seen, limit: int, time: BatchSeconds) -> _Batch:
    batch = _Batch(limit, time)
    for position, one in seen:
        if not can_be_in_time(one, limit, time) or not batch.takes(one):
            continue
        # What fills up does so at nobody's expense.
        if not one.fills or batch.fits(one):
            batch.add(position, one)
            if not batch.room:
                break
    return batch


def _hurried(batch: _Batch, seen: _Seen) -> _Batch | None:
    """Returns a smaller batch; None: somebody would be lost by it."""
    limit, time = batch.limit, batch.time
    smaller = _Batch(limit, time)
    for position in sorted(batch.parts, key=lambda position: seen.read[position].left):
        one = seen.read[position]
        if smaller.takes(one) and smaller.fits(one):
            smaller.add(position, one)
    others = (
        one
        for position, one in seen
        if position not in smaller.parts and can_be_in_time(one, limit, time)
    )
    is_lost = next(lost(others, limit, time, smaller.seconds), None) is not None
    return smaller if smaller.parts and not is_lost else None


def _largest(seen: _Seen, limit: int, time: BatchSeconds) -> _Batch:
    batch = _Batch(limit, time)
    hurried: list[tuple[int, Timed]] = []
    fills: list[tuple[int, Timed]] = []
    for position, one in seen:
        if one.fills:
            fills.append((position, one))
        elif batch.takes(one) and batch.slack(one) >= time(limit, one.weight):
            batch.add(position, one)
            if not batch.room:
                break
        else:
            hurried.append((position, one))
    # Those with the most time first: who has less is the first that a larger batch is too slow for.
    hurried.sort(key=lambda item: -item[1].left)
    for position, one in [*hurried, *fills]:
        if batch.takes(one) and batch.fits(one):
            batch.add(position, one)
    return batch
