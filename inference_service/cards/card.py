"""One card of an artifact: a queue of requests, and one thread that runs batches of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from inference_service.cards.admission import Admission
from inference_service.cards.batch_tensors import Tensors, kind, size_in_bytes
from inference_service.cards.card_spec import CardLimits, CardSpec
from inference_service.cards.engine import CardEngine
from inference_service.cards.forecast import CardForecast
from inference_service.cards.places import Places
from inference_service.cards.queue import CardQueue
from inference_service.cards.queued_request import QueuedRequest
from inference_service.cards.status import CardStatus, Ending
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
            clock: seconds, as for the times of requests.
        """
        self.spec = spec
        self.limits = limits
        self._move = move
        self._clock = clock
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._engine = CardEngine(spec, self._lock, self._changed.notify_all, clock)
        self._queue = CardQueue()
        places = Places(spec)
        self._forecast = CardForecast(spec, places, self._queue, self._engine.times)
        self._admission = Admission(places, self._forecast, self._queue, self._lock, clock)
        # Left the queue for the batch of this moment, at least in part.
        self._taken: Sequence[QueuedRequest] = ()
        self._closed = self._ended = False
        # Whether the thread has nothing to do, and is to be told of what comes.
        self._is_idle = False
        self._thread = threading.Thread(target=self._work, name=f"card-{self.index}", daemon=True)
        self._thread.start()

    @property
    def index(self) -> int:
        """The card's number in requests."""
        return self.spec.placement.card

    @property
    def load(self) -> int:
        """Images that wait or run, also those that run though nobody waits for them any more."""
        return self._admission.images + self._engine.abandoned

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
        with self._lock:
            return CardStatus(
                spec=self.spec,
                limits=self.limits,
                counts=self._admission.counts(self._engine.counts),
                outstanding_images=self._admission.images,
                outstanding_bytes=self._admission.size,
                waiting_images=self._queue.images,
                # In this order: an engine that is out of order has noted why before.
                healthy=self._engine.healthy,
                last_error=self._engine.last_error,
            )

    def admit(self, request: QueuedRequest, *, elsewhere: bool = False) -> None:
        """Takes a place for a request, which cancelling it frees, and queues it.

        Args:
            request: has arrived now, by the card's clock; without inputs it is not queued yet.
            elsewhere: whether another card can be asked when this one would be too late.

        Raises:
            DeadlineExpired, QueueFull, TooLate: see `Admission.admit`.
            CardOutOfOrder: the engine fails on this card, or does not come back from a run.
            ServerStopping: the card is closed.
        """
        if request.inputs:
            self._describe(request)
        with self._lock:
            self._check_open()
            self._admission.admit(request, self.limits, elsewhere=elsewhere)
            if request.inputs:
                self._put(request)

    def came_back(self, ended: float, now: float) -> None:
        """Hears when an answer was on its way out, of a batch that had ended before."""
        with self._lock:
            self._engine.times.returned(ended, now)

    def fill(self, request: QueuedRequest, inputs: Tensors) -> None:
        """Queues a request that has a place here; what becomes of it is in its answer.

        That is an error if not outputs: QueueFull where the inputs are larger than what they were
        announced with, and there is no room for the rest; CardOutOfOrder where the card has become
        so and no other may answer; DeadlineExpired; EngineFailed.

        Args:
            request: one that was admitted.
            inputs: arrays by semantic name, checked against the tower.
        """
        request.inputs = inputs
        request.arrived = self._clock()
        self._describe(request)
        try:
            with self._lock:
                self._check_open()
                self._admission.grow(request, size_in_bytes(inputs), self.limits)
                self._put(request)
        except errors.CardOutOfOrder:
            self._give_away([request])
        except errors.PbserveError as error:
            is_full = isinstance(error, errors.QueueFull)
            request.refuse(error, Ending.REFUSED if is_full else None)

    def take_over(self, request: QueuedRequest) -> None:
        """Queues a request that another card had accepted, whatever waits here.

        Raises:
            CardOutOfOrder, ServerStopping: see `admit`.
        """
        with self._lock:
            self._check_open()
            self._admission.take(request)
            self._put(request)

    def check_run(self) -> None:
        """Takes the card out of order if its engine does not come back; to be called regularly.

        Who waits for the run itself is told that it has failed, which is not tried again: it may
        be their images that keep the engine. What waits behind it moves to other cards.
        """
        with self._lock:
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
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            while not self._ended and ((left := self._engine.overdue_in) is None or left >= 0):
                self._changed.wait(left)
        if self._ended:
            self._thread.join()
        else:
            self.check_run()
        return self._ended

    def _check_open(self) -> None:
        if self._closed:
            raise errors.ServerStopping("the model's version is being unloaded: try again")
        if not self._engine.healthy:
            raise self._engine.out_of_order()

    def _describe(self, request: QueuedRequest) -> None:
        packs = self.spec.packs and self.limits.can_share(request.inputs)
        request.kind = kind(request.inputs) if packs else object()
        request.weight = self._forecast.weight(request.inputs)

    def _put(self, request: QueuedRequest) -> None:
        # One that is cancelled from here on leaves the queue with its place.
        if request.has_place:
            self._queue.put(request)
            if request.trace:
                request.trace.queued(self.index, self._clock())
            if self._is_idle:
                self._is_idle = False
                self._changed.notify_all()

    def _work(self) -> None:
        # In a frame of its own, which does not keep the last batch until the next one comes.
        while self._answer_next():
            pass

    def _answer_next(self) -> bool:
        """Waits for a batch or a probe, and does it; False: the card is closed and has none."""
        with self._lock:
            self._wait_for_work()
            if self._closed and not self._queue:
                self._ended = True
                self._changed.notify_all()
                return False
        if not self._engine.healthy:
            self._engine.probe()
        with self._lock:
            now = self._clock()
            batch, late = self._forecast.take(now, self.limits)
            self._taken = [request for request, _ in batch]
        for request in late:
            request.refuse(request.lateness(now, self.index), Ending.EXPIRED)
        wanted = [one for one in batch if one[0].is_wanted]
        if wanted and not self._engine.answer(wanted, self.limits.padded_sizes):
            self._give_away([request for request, _ in wanted])
        self._taken = ()
        return True

    def _wait_for_work(self) -> None:
        """Returns when a batch is due, a probe is, or the card is closed."""
        while not self._closed:
            now = self._clock()
            due = self._forecast.due(now, self.limits) if self._queue else self._engine.probe_at
            if due is not None and due <= now:
                return
            self._is_idle = True
            self._changed.wait(None if due is None else due - now)
            self._is_idle = False

    def _give_away(self, failed: Sequence[QueuedRequest]) -> None:
        """Moves these requests, and all that wait, to other cards; pinned ones are refused."""
        with self._lock:
            # Those of the batch may still be in the queue, with the rest of their images.
            everything = dict.fromkeys([*failed, *self._queue.empty()])
        kept = [request for request in everything if request.is_wanted]
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
