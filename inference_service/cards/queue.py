"""The requests that wait for one card, in two classes. Whoever uses it holds the card's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import chain

from inference_service.cards.batching import Priority, Slice, Waiting, leader, next_batch
from inference_service.cards.deadlines import BatchSeconds, Timed
from inference_service.cards.queued_request import QueuedRequest
from inference_service.cards.timely_batch import timely_batch

_OTHER: Mapping[Priority, Priority] = {
    Priority.INTERACTIVE: Priority.BULK,
    Priority.BULK: Priority.INTERACTIVE,
}


class CardQueue:
    """First come, first served, within each class."""

    def __init__(self) -> None:
        """Begins empty."""
        self._waiting: dict[Priority, deque[QueuedRequest]] = {
            priority: deque() for priority in Priority
        }
        self._passed_over = 0
        # Of those that wait.
        self._deadlines = 0

    @property
    def has_deadlines(self) -> bool:
        """Whether a request waits that has a deadline."""
        return self._deadlines > 0

    def __len__(self) -> int:
        """Number of requests of both classes."""
        waiting = self._waiting
        return len(waiting[Priority.INTERACTIVE]) + len(waiting[Priority.BULK])

    @property
    def images(self) -> int:
        """Images that are in no batch yet."""
        return sum(one.images - one.done for queue in self._waiting.values() for one in queue)

    def __iter__(self) -> Iterator[QueuedRequest]:
        """Yields all requests, in the order of their turns."""
        first = self._leader()
        return chain(self._waiting[first], self._waiting[_OTHER[first]])

    def put(self, request: QueuedRequest) -> None:
        """Adds a request behind those of its class."""
        if request.priority is Priority.BULK and not self._waiting[Priority.BULK]:
            self._passed_over = 0
        self._waiting[request.priority].append(request)
        self._deadlines += request.deadline is not None

    def discard(self, request: QueuedRequest) -> None:
        """Drops a request, if it is there."""
        queue = self._waiting[request.priority]
        if queue and queue[0] is request:
            queue.popleft()
        else:
            try:
                queue.remove(request)
            except ValueError:
                return
        self._deadlines -= request.deadline is not None

    def has_batch_of(self, images: int) -> bool:
        """Whether the next batch would have that many images."""
        return sum(part.images for _, part in self._next(images)) >= images

    def take(self, limit: int) -> list[tuple[QueuedRequest, Slice]]:
        """Takes the next batch: requests that are complete with it leave the queue."""
        batch = self._next(limit)
        self._begin(batch)
        return batch

    def take_timely(
        self, limit: int, now: float, seconds: BatchSeconds, *, overloaded: bool
    ) -> tuple[list[tuple[QueuedRequest, Slice]], list[QueuedRequest]]:
        """Takes the next batch, and those who are too late for it and for any other.

        Args:
            limit: images in a batch.
            now: of the deadlines' clock, plus what answers take on their way back.
            seconds: that a batch takes.
            overloaded: see `timely_batch`.
        """
        seen: list[QueuedRequest] = []

        def waiting() -> Iterator[Timed]:
            for timed, request in self.timed(now):
                seen.append(request)
                yield timed

        found = timely_batch(waiting(), limit, seconds, overloaded=overloaded)
        batch = [(seen[part.position], part) for part in found.batch]
        late = [seen[position] for position in found.late]
        for request in late:
            self.discard(request)
        self._begin(batch)
        return batch, late

    def timed(self, now: float) -> Iterator[tuple[Timed, QueuedRequest]]:
        """Yields all requests in the order of their turns, with the time that each has left."""
        first = self._leader()
        for request in self:
            fills = request.priority is not first
            yield Timed(request, request.left(now), fills, request.weight), request

    @property
    def passed_over(self) -> int:
        """Batches that began with interactive requests since bulk waits."""
        return self._passed_over if self._waiting[Priority.BULK] else 0

    def empty(self) -> list[QueuedRequest]:
        """Takes all requests."""
        everything = list(self)
        for queue in self._waiting.values():
            queue.clear()
        self._deadlines = 0
        return everything

    def _begin(self, batch: list[tuple[QueuedRequest, Slice]]) -> None:
        for request, part in batch:
            request.done = part.stop
            if request.done == request.images:
                self.discard(request)
        if batch:
            leads = batch[0][0].priority is Priority.INTERACTIVE
            self._passed_over = self._passed_over + 1 if leads else 0

    def _next(self, limit: int) -> list[tuple[QueuedRequest, Slice]]:
        if len(self) == 1:
            (request,) = self
            return [(request, Slice(0, request.done, min(request.images, request.done + limit)))]
        # No more of the queue than the batch needs.
        seen: list[QueuedRequest] = []

        def waiting() -> Iterator[Waiting]:
            for request in self:
                seen.append(request)
                yield request

        return [(seen[part.position], part) for part in next_batch(waiting(), limit)]

    def _leader(self) -> Priority:
        return leader(
            interactive=bool(self._waiting[Priority.INTERACTIVE]),
            bulk=bool(self._waiting[Priority.BULK]),
            passed_over=self._passed_over,
        )
