"""A request, or its share of images, on its way through a card."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from inference_service.batch_tensors import Tensors, joined, size_in_bytes
from inference_service.batching import Priority, Waiting, due_at
from service_kit import errors


@dataclass(frozen=True, slots=True)
class CardAnswer:
    """Outputs by semantic name, and how they came about (times in seconds)."""

    outputs: Tensors
    card: int
    batch_size: int
    queue_seconds: float
    compute_seconds: float


class Place(Protocol):
    """Where a request counts as outstanding."""

    def freed(self, pending: Pending) -> None:
        """The request is answered, refused, cancelled or moved away."""


@dataclass(slots=True, eq=False)
class Pending:
    """Images that wait for their answer; `deadline` and `arrived` are of the card's clock.

    Attributes:
        inputs: arrays by semantic name, `images` each.
        kind: what requests in one batch have in common.
        pinned: whether only the card that it was sent to may answer.
        done: images that have been computed or are being so.
    """

    inputs: Tensors
    images: int
    kind: Hashable
    priority: Priority
    arrived: float
    deadline: float | None
    pinned: bool
    answer: Future[CardAnswer] = field(default_factory=Future)
    done: int = 0
    _began: float | None = None
    _computed: float = 0.0
    _batch_size: int = 0
    _parts: list[Tensors] = field(default_factory=list)
    _delivered: int = 0
    _place: Place | None = None
    _placing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def size_in_bytes(self) -> int:
        """Bytes of the inputs."""
        return size_in_bytes(self.inputs)

    @property
    def waiting(self) -> Waiting:
        """The request as the batching sees it."""
        return Waiting(self.images, self.done, self.kind)

    def due_at(self, delay: float) -> float:
        """Returns when it should wait no longer for company."""
        return due_at(self.arrived, self.deadline, delay)

    def settle(self, place: Place) -> bool:
        """Takes a place, unless it was cancelled; that it is freed is told exactly once."""
        with self._placing:
            if self.answer.done():
                return False
            self._place = place
        return True

    def leave(self) -> None:
        """Gives up the place, if it has one."""
        with self._placing:
            place, self._place = self._place, None
        if place:
            place.freed(self)

    def expired(self, now: float, card: int) -> errors.DeadlineExpired | None:
        """Returns the error of a deadline that has passed."""
        if self.deadline is None or now <= self.deadline:
            return None
        return errors.DeadlineExpired(
            f"the deadline passed after {now - self.arrived:.3f} s on card {card}, with "
            f"{self._delivered} of {self.images} images computed"
        )

    def rewind(self) -> None:
        """Goes back to the first image that has no outputs yet."""
        self.done = self._delivered

    def refuse(self, error: errors.PbserveError) -> bool:
        """Answers with an error; False when it was cancelled before."""
        # A place is free before anybody learns of the answer.
        self.leave()
        if self.answer.done() or not self.answer.set_running_or_notify_cancel():
            return False
        self.answer.set_exception(error)
        return True

    def deliver(
        self, outputs: Tensors, *, card: int, batch_size: int, began: float, seconds: float
    ) -> bool:
        """Takes the outputs of its next images; True when that answered the request."""
        complete = self.done >= self.images
        # First, because it may fail: then nothing has been delivered.
        whole = joined([*self._parts, outputs]) if complete else {}
        self._parts.append(outputs)
        self._delivered = self.done
        self._began = began if self._began is None else self._began
        self._computed += seconds
        self._batch_size = max(self._batch_size, batch_size)
        if not complete:
            return False
        self.leave()
        if self.answer.done() or not self.answer.set_running_or_notify_cancel():
            return False
        self.answer.set_result(
            CardAnswer(
                outputs=whole,
                card=card,
                batch_size=self._batch_size,
                queue_seconds=max(0.0, self._began - self.arrived),
                compute_seconds=self._computed,
            )
        )
        return True
