"""One card of an artifact: a queue of requests, and one thread that runs batches of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from inference_service.cards.batch_run import BatchTrace
from inference_service.cards.batch_tensors import Tensors, size_in_bytes
from inference_service.cards.batching import Priority
from inference_service.cards.card_spec import CardLimits, CardSpec
from inference_service.cards.engine import CardEngine
from inference_service.cards.forecast import CardForecast
from inference_service.cards.places import Places
from inference_service.cards.queue import CardQueue
from inference_service.cards.queued_request import QueuedRequest, is_expired
from inference_service.cards.status import CardCounts, CardStatus, Ending
from service_kit import errors

# Finds another place for what a card that is out of order had queued.
Mover = Callable[[Sequence[QueuedRequest], "Card"], None]


class Card:
    """A queue and the thread that empties it; every method may be called from any thread."""

    def __init__(
        self,
        spec: CardSpec,
        limits: CardLimits,
        move: Mover,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts the card's thread.

        Args:
            spec: what the card is made of.
            limits: what it takes; may be replaced later.
            move: called with what the card cannot answer any more, on any thread.
            clock: seconds, as for the deadlines given to `reserve`.
        """
        self.spec = spec
        self.limits = limits
        self._move = move
        self._clock = clock
        self._changed = threading.Condition()
        self._engine = CardEngine(spec, self._changed, clock)
        self._queue = CardQueue()
        self._places = Places(spec)
        self._answered_images = 0
        self._endings = dict.fromkeys(Ending, 0)
        self._forecast = CardForecast(spec, self._places, self._queue, self._engine.times)
        # Left the queue for the batch of this moment, at least in part.
        self._taken: Sequence[QueuedRequest] = ()
        self._closed = self._ended = False
        self._thread = threading.Thread(target=self._work, name=f"card-{self.index}", daemon=True)
        self._thread.start()

    @property
    def index(self) -> int:
        """The card's number in requests."""
        return self.spec.placement.card

    @property
    def load(self) -> int:
        """Images that wait or run, also those that run though nobody waits for them any more."""
        return self._places.images + self._engine.abandoned

    @property
    def healthy(self) -> bool:
        """Whether the card takes requests."""
        return self._engine.healthy

    @property
    def last_error(self) -> str:
        """The engine's last error; empty: none."""
        return self._engine.last_error

    def status(self) -> CardStatus:
        """Returns what the card is and does at this moment."""
        with self._changed:
            # In this order: an engine that is out of order has noted why before.
            healthy, last_error = self._engine.healthy, self._engine.last_error
            return CardStatus(
                spec=self.spec,
                limits=self.limits,
                counts=CardCounts(
                    answered_images=self._answered_images,
                    failed_requests=self._endings[Ending.FAILED],
                    expired_requests=self._endings[Ending.EXPIRED],
                    cancelled_requests=self._endings[Ending.CANCELLED],
                    refused_requests=self._endings[Ending.REFUSED],
                    runs=self._engine.counts,
                ),
                outstanding_images=self._places.images,
                outstanding_bytes=self._places.size,
                waiting_images=self._queue.images,
                healthy=healthy,
                last_error=last_error,
            )

    def reserve(
        self,
        images: int,
        size: int,
        deadline: float | None = None,
        *,
        priority: Priority = Priority.INTERACTIVE,
        pinned: bool = True,
        trace: BatchTrace | None = None,
    ) -> QueuedRequest:
        """Takes a place for a request whose inputs come later; cancelling its answer frees that.

        Args:
            images: at least 1.
            size: bytes of its inputs, as far as they are known.
            deadline: a time of the card's clock after which nobody waits for the answer.
            priority: class of the request.
            pinned: whether only this card may answer.
            trace: has the batches written down; None: nobody traces the request.

        Raises:
            QueueFull: too many images or bytes are outstanding, or what waits takes until after the
                deadline.
            DeadlineExpired: the card would not be done before the deadline if it had nothing else.
            CardOutOfOrder: the engine fails on this card, or does not come back from a run.
            ServerStopping: the card is closed.
        """
        now = self._clock()
        request = QueuedRequest({}, images, None, priority, now, deadline, pinned, size, trace)
        with self._changed:
            self._check_open()
            self._check_room(priority, images, size)
            self._check_time(priority, images, deadline, now)
            self._settle(request)
        return request

    def reaches(self, images: int, deadline: float | None, priority: Priority) -> bool:
        """Whether a new request may be answered in time here; see `reserve`."""
        if deadline is None:
            return True
        now = self._clock()
        with self._changed:
            refusal = self._forecast.refusal(priority, images, deadline, now, self.limits)
        return refusal is None

    def came_back(self, ended: float, now: float) -> None:
        """Hears when an answer was on its way out, of a batch that had ended before."""
        with self._changed:
            self._engine.times.returned(ended, now)

    def fill(self, request: QueuedRequest, inputs: Tensors) -> None:
        """Queues a request that has a place here; what becomes of it is in its answer.

        That is an error if not outputs: QueueFull where the inputs are larger than what they were
        announced with, and there is no room for the rest; CardOutOfOrder where the card has become
        so and no other may answer; DeadlineExpired; EngineFailed.

        Args:
            request: what `reserve` has returned.
            inputs: arrays by semantic name, checked against the tower.
        """
        request.inputs, request.kind = inputs, self._kind(inputs)
        request.weight = self._forecast.weight(inputs)
        request.arrived = self._clock()
        try:
            with self._changed:
                self._check_open()
                self._grow(request)
                self._put(request)
        except errors.CardOutOfOrder:
            self._give_away([request])
        except errors.PbserveError as error:
            request.refuse(error)

    def take_over(self, request: QueuedRequest) -> None:
        """Queues a request that another card had accepted; raises as `reserve`, but QueueFull."""
        with self._changed:
            self._check_open()
            self._settle(request)
            self._put(request)

    def count_expired(self) -> None:
        """Counts a request that expired before it was computed."""
        with self._changed:
            self._endings[Ending.EXPIRED] += 1

    def is_wanted(self, request: QueuedRequest) -> bool:
        """Whether somebody still waits; one that has expired is told so."""
        if request.answer.done():
            return False
        error = request.expired(self._clock(), self.index)
        if error:
            request.refuse(error, Ending.EXPIRED)
        return error is None

    def check_run(self) -> None:
        """Takes the card out of order if its engine does not come back; to be called regularly.

        Who waits for the run itself is told that it has failed, which is not tried again: it may
        be their images that keep the engine. What waits behind it moves to other cards.
        """
        with self._changed:
            running, taken = self._engine.suspend(), self._taken
        if running is None:
            return
        words = f"no answer from card {self.index}: {self.last_error}"
        for request in running:
            request.refuse(errors.EngineFailed(words), Ending.FAILED)
        for request in taken:
            request.refuse(self._engine.out_of_order(), Ending.FAILED)
        self._give_away([])

    def close(self) -> bool:
        """Answers what is queued, then ends the thread. Blocks until that is done.

        Returns False when it gave up on a run that takes too long (see `check_run`, which goes on
        being called): the engine is in use then, and what was queued is given away.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            while not self._ended and ((left := self._engine.overdue_in) is None or left >= 0):
                self._changed.wait(left)
        if self._ended:
            self._thread.join()
        else:
            self.check_run()
        return self._ended

    def freed(self, request: QueuedRequest, ending: Ending | None) -> None:
        """See `Place`."""
        with self._changed:
            self._places.free(request.priority, request.images, request.size, request.done)
            if request.done < request.images:
                # Else its inputs would stay, and count for nothing.
                self._queue.discard(request)
            if request.answer.cancelled():
                expired = is_expired(request.deadline, self._clock())
                ending = Ending.EXPIRED if expired else Ending.CANCELLED
            if ending is Ending.ANSWERED:
                self._answered_images += request.images
            if ending:
                self._endings[ending] += 1

    def _kind(self, inputs: Tensors) -> Any:
        if not self.spec.packs:
            return object()
        return tuple((name, array.shape[1:], array.dtype) for name, array in sorted(inputs.items()))

    def _check_open(self) -> None:
        if self._closed:
            raise errors.ServerStopping("the model's version is being unloaded: try again")
        if not self._engine.healthy:
            raise self._engine.out_of_order()

    def _check_room(self, priority: Priority, images: int, size: int) -> None:
        try:
            self._places.check(priority, images, size, self.limits)
        except errors.QueueFull:
            self._endings[Ending.REFUSED] += 1
            raise

    def _check_time(
        self, priority: Priority, images: int, deadline: float | None, now: float
    ) -> None:
        refusal = self._forecast.refusal(priority, images, deadline, now, self.limits)
        if refusal is None:
            return
        expired = isinstance(refusal, errors.DeadlineExpired)
        self._endings[Ending.EXPIRED if expired else Ending.REFUSED] += 1
        raise refusal

    def _grow(self, request: QueuedRequest) -> None:
        """Takes the places of what is more than was announced."""
        size = size_in_bytes(request.inputs)
        if size > request.size and request.has_place:
            self._places.free(request.priority, request.images, request.size)
            try:
                self._check_room(request.priority, request.images, size)
                request.size = size
            finally:
                self._places.take(request.priority, request.images, request.size)

    def _settle(self, request: QueuedRequest) -> None:
        if not request.settle(self):
            return
        self._places.take(request.priority, request.images, request.size, request.done)
        request.answer.add_done_callback(
            lambda answer: request.leave() if answer.cancelled() else None
        )

    def _put(self, request: QueuedRequest) -> None:
        # One that is cancelled from here on leaves the queue with its place.
        if request.has_place:
            self._queue.put(request)
            if request.trace:
                request.trace.queued(self.index, self._clock())
            self._changed.notify_all()

    def _work(self) -> None:
        # In a frame of its own, which does not keep the last batch until the next one comes.
        while self._answer_next():
            pass

    def _answer_next(self) -> bool:
        """Waits for a batch or a probe, and does it; False: the card is closed and has none."""
        with self._changed:
            self._wait_for_work()
            if self._closed and not self._queue:
                self._ended = True
                self._changed.notify_all()
                return False
            now = self._clock()
            batch, late = self._forecast.take(now, self.limits)
            self._taken = [request for request, _ in batch]
        for request in late:
            request.refuse(request.lateness(now, self.index), Ending.EXPIRED)
        if not self._engine.healthy:
            self._engine.probe()
        wanted = [one for one in batch if self.is_wanted(one[0])]
        padded_sizes = self.limits.padded_sizes
        if wanted and not self._engine.answer(wanted, padded_sizes, self.is_wanted):
            self._give_away([request for request, _ in wanted])
        self._taken = ()
        return True

    def _wait_for_work(self) -> None:
        """Returns when a batch is due, a probe is, or the card is closed."""
        while not self._closed:
            due = self._engine.probe_at
            if self._queue:
                delay = self.limits.max_queue_delay
                if delay == 0 or self._queue.has_batch_of(self.limits.batch):
                    return
                needed = self._forecast.needed(self._clock(), self.limits)
                due = min(request.due_at(delay, needed) for request in self._queue)
            seconds = None if due is None else due - self._clock()
            if seconds is not None and seconds <= 0:
                return
            self._changed.wait(seconds)

    def _give_away(self, failed: Sequence[QueuedRequest]) -> None:
        """Moves these requests, and all that wait, to other cards; pinned ones are refused."""
        with self._changed:
            # Those of the batch may still be in the queue, with the rest of their images.
            everything = dict.fromkeys([*failed, *self._queue.empty()])
        kept = [request for request in everything if self.is_wanted(request)]
        moving = [request for request in kept if not request.pinned]
        for request in kept:
            if request.trace:
                request.trace.unqueued(self.index, self._clock())
            if request.pinned:
                request.refuse(self._engine.out_of_order(), Ending.FAILED)
        for request in moving:
            request.leave()
            request.rewind()
        self._move(moving, self)
