"""A request, or its share of images, on its way through a card."""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Protocol

from inference_service.cards.batch_run import BatchRun, BatchTrace
from inference_service.cards.batch_tensors import Tensors, join_tensors
from inference_service.cards.batching import Priority, due_at
from inference_service.cards.card_answer import CardAnswer
from inference_service.cards.status import Ending
from service_kit import errors

# A call's deadline is gRPC's to keep, too: it cancels the call by a timer of its own, whose time
# began when the call came and not when the card got it. What lies between is the decoding of a
# message, 0.1 s for one of 64 MB; a caller who gives up so shortly before has waited in vain as
# well.
_DEADLINE_SLACK = 0.1


def is_expired(deadline: float | None, now: float) -> bool:
    """Whether what was cancelled at `now` was so because of its deadline."""
    return deadline is not None and now >= deadline - _DEADLINE_SLACK


class Place(Protocol):
    """Where a request counts as outstanding."""

    def freed(self, request: QueuedRequest, ending: Ending | None) -> None:
        """The request has left; `ending`: how it ended; None: otherwise, see `leave`."""


class Asker(Protocol):
    """Who waits for a request's result."""

    def hear(self, request: QueuedRequest) -> None:
        """The request has its result. Once, on any thread; not of a request that is cancelled."""


class _Nobody:
    def hear(self, request: QueuedRequest) -> None:
        """Nobody waits."""


_NOBODY = _Nobody()


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """Images that wait for their answer; `deadline` and `arrived` are of the card's clock.

    Attributes:
        inputs: arrays by semantic name, `images` each; none before they are decoded.
        kind: what requests in one batch have in common.
        pinned: whether only the card that it was sent to may answer.
        size: bytes that it counts for.
        trace: of the request; None: nobody traces it.
        asker: hears of the result.
        result: an answer or an error; None: there is none yet, or it was cancelled.
        is_cancelled: whether its asker has given up on it.
        done: images that have been computed or are being so.
        weight: of each image; see `Estimate`.
    """

    inputs: Tensors
    images: int
    kind: Hashable
    priority: Priority
    arrived: float
    deadline: float | None
    pinned: bool
    size: int = 0
    trace: BatchTrace | None = None
    asker: Asker = _NOBODY
    result: CardAnswer | errors.PbserveError | None = None
    is_cancelled: bool = False
    done: int = 0
    weight: float = 1.0
    _began: float | None = None
    _computed: float = 0.0
    _stacked: float = 0.0
    _checked: float = 0.0
    _batch_size: int = 0
    _parts: list[Tensors] = field(default_factory=list)
    _delivered: int = 0
    _settled: bool = False
    _place: Place | None = None
    _placing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def has_place(self) -> bool:
        """Whether it counts as outstanding."""
        return self._place is not None

    @property
    def is_wanted(self) -> bool:
        """Whether it still waits for its result."""
        return not self._settled

    def due_at(self, delay: float, needed: float = 0.0) -> float:
        """Returns when it should wait no longer for company; `needed`: seconds to answer it."""
        return due_at(self.arrived, self.deadline, delay, needed)

    def left(self, now: float) -> float:
        """Returns the seconds until its deadline; infinity: it has none."""
        return math.inf if self.deadline is None else self.deadline - now

    def settle(self, place: Place) -> bool:
        """Takes a place, unless it has ended; that it is freed is told exactly once."""
        with self._placing:
            if self._settled:
                return False
            self._place = place
        return True

    def leave(self, ending: Ending | None = None) -> None:
        """Gives up the place, if it has one.

        Args:
            ending: is counted in the same step; None: it was cancelled, moves to another card, or
                ended by an error that cards do not count.
        """
        with self._placing:
            place, self._place = self._place, None
        if place:
            place.freed(self, ending)

    def cancel(self) -> bool:
        """Its asker gives up on it; False when it has ended before."""
        if not self._is_first():
            return False
        self.is_cancelled = True
        self.leave()
        return True

    def expiry(self, now: float, card: int) -> errors.DeadlineExpired:
        """Returns the error of a deadline that passes now."""
        return errors.DeadlineExpired(
            f"the deadline passed after {now - self.arrived:.3f} s on card {card}, with "
            f"{self._delivered} of {self.images} images computed"
        )

    def lateness(self, now: float, card: int) -> errors.DeadlineExpired:
        """Returns the error of a deadline that passes before the batch of now could end."""
        if self.left(now) < 0:
            return self.expiry(now, card)
        return errors.DeadlineExpired(
            f"the deadline would pass in {self.left(now):.3f} s, after {now - self.arrived:.3f} s "
            f"on card {card}, before a batch could end that begins now, with {self._delivered} of "
            f"{self.images} images computed"
        )

    def rewind(self) -> None:
        """Goes back to the first image that has no outputs yet."""
        self.done = self._delivered

    def refuse(self, error: errors.PbserveError, ending: Ending | None = None) -> bool:
        """Answers with an error; False when it has ended before.

        Args:
            error: what the caller is told.
            ending: what the card counts it as; None: nothing.
        """
        if not self._is_first():
            return False
        # A place is free, and the request counted, before anybody learns of the answer.
        self.leave(ending)
        self.result = error
        self.asker.hear(self)
        return True

    def take(self, outputs: Tensors, run: BatchRun) -> bool:
        """Takes the outputs of its next images; True when they are the last: it has its result.

        Whoever is told so has it leave, and then its asker hear: who has the answer, and asks for
        the counts, finds it there.

        Args:
            outputs: arrays by semantic name, of the images up to `done`.
            run: the batch that they were in.
        """
        complete = self.done >= self.images
        # First, because it may fail: then nothing has been delivered.
        whole = join_tensors([*self._parts, outputs]) if complete else {}
        if not complete:
            self._parts.append(outputs)
        self._delivered = self.done
        began = self._began = run.began if self._began is None else self._began
        self._computed += run.compute_seconds
        self._stacked += run.input_seconds
        self._checked += run.output_seconds
        self._batch_size = max(self._batch_size, run.images)
        if not complete or not self._is_first():
            return False
        self.result = CardAnswer(
            whole,
            run.card,
            self._batch_size,
            max(0.0, began - self.arrived),
            self._computed,
            self._stacked,
            self._checked,
            run.ended,
        )
        return True

    def _is_first(self) -> bool:
        """Whether it has not ended; True once, whichever thread asks."""
        with self._placing:
            settled, self._settled = self._settled, True
        return not settled
