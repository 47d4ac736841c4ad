"""The requests that wait for one card, in two classes. Whoever uses it holds the card's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import chain

from inference_service.batching import Priority, Slice, leader, next_batch
from inference_service.pending import Pending

_OTHER: Mapping[Priority, Priority] = {
    Priority.INTERACTIVE: Priority.BULK,
    Priority.BULK: Priority.INTERACTIVE,
}


class CardQueue:
    """First come, first served, within each class."""

    def __init__(self) -> None:
        """Begins empty."""
        self._waiting: dict[Priority, deque[Pending]] = {priority: deque() for priority in Priority}
        self._passed_over = 0

    def __len__(self) -> int:
        """Number of requests of both classes."""
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[Pending]:
        """Yields all requests, in the order of their turns."""
        first = self._leader()
        return chain(self._waiting[first], self._waiting[_OTHER[first]])

    def put(self, pending: Pending) -> None:
        """Adds a request behind those of its class."""
        if pending.priority is Priority.BULK and not self._waiting[Priority.BULK]:
            self._passed_over = 0
        self._waiting[pending.priority].append(pending)

    def keep(self, is_wanted: Callable[[Pending], bool]) -> None:
        """Drops the requests that are not wanted."""
        for priority, queue in self._waiting.items():
            self._waiting[priority] = deque(filter(is_wanted, queue))

    def has_batch_of(self, images: int) -> bool:
        """Whether the next batch would have that many images."""
        return sum(part.images for part in self._next(images)) >= images

    def take(self, limit: int) -> list[tuple[Pending, Slice]]:
        """Takes the next batch: requests that are complete with it leave the queue."""
        if not len(self):
            return []
        first = self._leader()
        queue = list(self)
        batch = [(queue[part.position], part) for part in self._next(limit)]
        for pending, part in batch:
            pending.done = part.stop
        self._passed_over = self._passed_over + 1 if first is Priority.INTERACTIVE else 0
        self.keep(lambda pending: pending.done < pending.images)
        return batch

    def empty(self) -> list[Pending]:
        """Takes all requests."""
        everything = list(self)
        self.keep(lambda _: False)
        return everything

    def _next(self, limit: int) -> list[Slice]:
        return next_batch((pending.waiting for pending in self), limit)

    def _leader(self) -> Priority:
        return leader(
            interactive=bool(self._waiting[Priority.INTERACTIVE]),
            bulk=bool(self._waiting[Priority.BULK]),
            passed_over=self._passed_over,
        )
