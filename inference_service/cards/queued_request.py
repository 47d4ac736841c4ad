"""A request, or its share of images, on its way through a card."""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from inference_service.cards.batch_run import BatchRun, BatchTrace
from inference_service.cards.batch_tensors import Tensors, join_tensors
from inference_service.cards.batching import Priority, Waiting, due_at
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


@dataclass(frozen=True, slots=True)
class CardAnswer:
    """Outputs by semantic name, and how they came about (times in seconds).

    What the batches took is divided into stacking their inputs, computing, and checking outputs.
    """

    outputs: Tensors
    card: int
    batch_size: int
    queue_seconds: float
    compute_seconds: float
    input_seconds: float = 0.0
    output_seconds: float = 0.0
    # When the last of its batches had ended, on the card's clock.
    ended: float = 0.0


class Place(Protocol):
    """Where a request counts as outstanding."""

    def freed(self, request: QueuedRequest, ending: Ending | None) -> None:
        """The request has left; `ending`: how it ended; None: otherwise, see `leave`."""


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """Images that wait for their answer; `deadline` and `arrived` are of the card's clock.

    Attributes:
        inputs: arrays by semantic name, `images` each; none before they are decoded.
        kind: what requests in one batch have in common.
        pinned: whether only the card that it was sent to may answer.
        size: bytes that it counts for.
        trace: of the request; None: nobody traces it.
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
    answer: Future[CardAnswer] = field(default_factory=Future)
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
        """Whether it still waits for its answer."""
        return not self.answer.done()

    @property
    def waiting(self) -> Waiting:
        """The request as the batching sees it."""
        return Waiting(self.images, self.done, self.kind)

    def due_at(self, delay: float, needed: float = 0.0) -> float:
        """Returns when it should wait no longer for company; `needed`: seconds to answer it."""
        return due_at(self.arrived, self.deadline, delay, needed)

    def left(self, now: float) -> float:
        """Returns the seconds until its deadline; infinity: it has none."""
        return math.inf if self.deadline is None else self.deadline - now

    def settle(self, place: Place) -> bool:
        """Takes a place, unless it was cancelled; that it is freed is told exactly once."""
        with self._placing:
            if self._settled or self.answer.done():
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
        """Answers with an error; False when it was cancelled or answered before.

        Args:
            error: what the caller is told.
            ending: what the card counts it as; None: nothing.
        """
        if not self._is_first():
            return False
        # A place is free, and the request counted, before anybody learns of the answer.
        self.leave(ending)
        self.answer.set_exception(error)
        return True

    def deliver(self, outputs: Tensors, run: BatchRun) -> bool:
        """Takes the outputs of its next images; True when that answered the request.

        Args:
            outputs: arrays by semantic name, of the images up to `done`.
            run: the batch that they were in.
        """
        complete = self.done >= self.images
        # First, because it may fail: then nothing has been delivered.
        whole = join_tensors([*self._parts, outputs]) if complete else {}
        self._parts.append(outputs)
        self._delivered = self.done
        self._began = run.began if self._began is None else self._began
        self._computed += run.compute_seconds
        self._stacked += run.input_seconds
        self._checked += run.output_seconds
        self._batch_size = max(self._batch_size, run.images)
        if not complete:
            return False
        if not self._is_first():
            return False
        # Who has the answer, and asks for the counts, finds it there.
        self.leave(Ending.ANSWERED)
        self.answer.set_result(
            CardAnswer(
                outputs=whole,
                card=run.card,
                batch_size=self._batch_size,
                queue_seconds=max(0.0, self._began - self.arrived),
                compute_seconds=self._computed,
                input_seconds=self._stacked,
                output_seconds=self._checked,
                ended=run.ended,
            )
        )
        return True

    def _is_first(self) -> bool:
        """Whether the answer is still to be given; True once, whichever thread asks."""
        with self._placing:
            settled, self._settled = self._settled, True
        return not settled and self.answer.set_running_or_notify_cancel()
