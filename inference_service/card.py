"""One lane of an artifact: a queue of requests, and one thread that runs batches of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import structlog

from inference_service.batch_tensors import (
    Tensors,
    check_outputs,
    non_finite_images,
    part,
    stacked,
)
from inference_service.batching import Priority, Slice, padded_size
from inference_service.card_health import CardHealth
from inference_service.card_queue import CardQueue
from inference_service.lane import CardCounts, CardLimits, Lane
from inference_service.pending import CardAnswer, Pending
from service_kit import errors

_log = structlog.get_logger(__name__)
_Batch = Sequence[tuple[Pending, Slice]]
# A caller is told to wait until what is outstanding should be done, within these seconds.
_SHORTEST_RETRY, _LONGEST_RETRY = 0.01, 5.0


# Finds another place for what a card that is out of order had queued.
Mover = Callable[[Sequence[Pending], "Card"], None]


class Card:
    """A queue and the thread that empties it; every method may be called from any thread."""

    def __init__(
        self,
        lane: Lane,
        limits: CardLimits,
        move: Mover,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts the card's thread.

        Args:
            lane: what the card is made of.
            limits: what it takes; may be replaced later.
            move: called on the card's thread with what it cannot answer any more.
            clock: seconds, as for the deadlines given to `submit`.
        """
        self.lane = lane
        self.limits = limits
        self.counts = CardCounts()
        self._move = move
        self._clock = clock
        self._health = CardHealth()
        self._queue = CardQueue()
        self._changed = threading.Condition()
        self._outstanding = 0
        self._outstanding_bytes = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"card-{self.index}", daemon=True)
        self._thread.start()

    @property
    def index(self) -> int:
        """The card's number in requests."""
        return self.lane.placement.card

    @property
    def outstanding(self) -> int:
        """Images that wait or run."""
        return self._outstanding

    @property
    def outstanding_bytes(self) -> int:
        """Bytes of their inputs."""
        return self._outstanding_bytes

    @property
    def healthy(self) -> bool:
        """Whether the card takes requests."""
        return self._health.healthy

    @property
    def last_error(self) -> str:
        """The engine's last error; empty: none."""
        return self._health.last_error

    def submit(
        self,
        inputs: Tensors,
        images: int,
        deadline: float | None = None,
        *,
        priority: Priority = Priority.INTERACTIVE,
        pinned: bool = True,
    ) -> Future[CardAnswer]:
        """Queues a request and returns its future answer; cancelling that frees its place.

        Args:
            inputs: arrays by semantic name, checked against the tower; `images` each.
            images: at least 1.
            deadline: a time of the card's clock after which nobody waits for the answer.
            priority: class of the request.
            pinned: whether another card may answer if this one cannot.

        Raises:
            QueueFull: too many images or bytes are outstanding.
            CardOutOfOrder: the engine fails on this card.
            ServerStopping: the card is closed.

        The future raises DeadlineExpired, CardOutOfOrder or EngineFailed.
        """
        pending = Pending(
            inputs, images, self._kind(inputs), priority, self._clock(), deadline, pinned
        )
        with self._changed:
            self._check_open()
            self._check_room(images, pending.size_in_bytes)
            self._enqueue(pending)
        return pending.answer

    def take_over(self, pending: Pending) -> None:
        """Queues a request that another card had accepted; raises as `submit`, but QueueFull."""
        with self._changed:
            self._check_open()
            self._enqueue(pending)

    def count_expired(self) -> None:
        """Counts a request that would have come here, had it not expired on arrival."""
        with self._changed:
            self.counts.expired_requests += 1

    def close(self) -> None:
        """Answers what is queued, then ends the thread. Blocks until that is done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def freed(self, pending: Pending) -> None:
        """See `Place`."""
        with self._changed:
            self._outstanding -= pending.images
            self._outstanding_bytes -= pending.size_in_bytes
            if pending.answer.cancelled():
                self.counts.cancelled_requests += 1

    def _kind(self, inputs: Tensors) -> Any:
        if not self.lane.packs:
            return object()
        return tuple((name, array.shape[1:], array.dtype) for name, array in sorted(inputs.items()))

    def _check_open(self) -> None:
        if self._closed:
            raise errors.ServerStopping("the model's version is being unloaded: try again")
        if not self._health.healthy:
            raise self._out_of_order()

    def _out_of_order(self) -> errors.CardOutOfOrder:
        return errors.CardOutOfOrder(
            f"card {self.index} is out of order, and is being probed: leave the card out, or try "
            f"again; the engine said: {self._health.last_error}",
            retry_after=max(0.0, (self._health.probe_at or 0.0) - self._clock()),
        )

    def _check_room(self, images: int, size: int) -> None:
        limits = self.limits
        full_of_images = self._outstanding + images > limits.queue_images
        if self._outstanding and (
            full_of_images or self._outstanding_bytes + size > limits.queue_bytes
        ):
            self.counts.refused_requests += 1
            what = (
                f"{self._outstanding} images outstanding, and takes {limits.queue_images}"
                if full_of_images
                else f"{self._outstanding_bytes} bytes outstanding, and takes {limits.queue_bytes}"
            )
            raise errors.QueueFull(
                f"card {self.index} has {what}: send {images} more later, or to another card",
                retry_after=self._retry_after(),
            )

    def _retry_after(self) -> float:
        rate = max((timing.images_per_second for timing in self.lane.timings), default=100.0)
        return min(max(self._outstanding / rate, _SHORTEST_RETRY), _LONGEST_RETRY)

    def _enqueue(self, pending: Pending) -> None:
        if not pending.settle(self):
            return
        self._outstanding += pending.images
        self._outstanding_bytes += pending.size_in_bytes
        self._queue.put(pending)
        self._changed.notify()
        pending.answer.add_done_callback(
            lambda answer: pending.leave() if answer.cancelled() else None
        )

    def _work(self) -> None:
        while True:
            with self._changed:
                self._wait_for_work()
                if self._closed and not self._queue:
                    return
                self._queue.keep(self._is_wanted)
                batch = self._queue.take(self.limits.batch)
            if not self._health.healthy:
                self._probe()
            self._compute([one for one in batch if self._is_wanted(one[0])])

    def _wait_for_work(self) -> None:
        """Returns when a batch is due, a probe is, or the card is closed."""
        while not self._closed:
            due = self._health.probe_at
            if self._queue:
                delay = self.limits.max_queue_delay
                if delay == 0 or self._queue.has_batch_of(self.limits.batch):
                    return
                due = min(pending.due_at(delay) for pending in self._queue)
            seconds = None if due is None else due - self._clock()
            if seconds is not None and seconds <= 0:
                return
            self._changed.wait(seconds)

    def _is_wanted(self, pending: Pending) -> bool:
        """Whether somebody still waits; checked again for every part of a split request."""
        if pending.answer.done():
            return False
        error = pending.expired(self._clock(), self.index)
        if error and pending.refuse(error):
            self.count_expired()
        return error is None

    def _compute(self, batch: _Batch) -> None:
        """Answers a batch, or gives it away when the card turns out to be out of order."""
        if batch and not self._answer(batch):
            self._give_away([pending for pending, _ in batch])

    def _answer(self, batch: _Batch) -> bool:
        """Answers a batch; one that fails is tried again request by request.

        Returns False when the card is out of order; then some may have no answer.
        """
        # Whatever happens costs these requests; the card's thread lives.
        try:
            self._run(batch)
        except Exception as error:
            failure = _as_failure(error)
        else:
            self._health.succeeded()
            return True
        suspicious = self._health.failed(str(failure))
        if suspicious and not self._probe():
            return False
        if len(batch) > 1:
            return all(self._answer([one]) for one in batch if self._is_wanted(one[0]))
        if batch[0][0].refuse(failure):
            self.counts.failed_requests += 1
        return True

    def _run(self, batch: _Batch) -> None:
        images = sum(one.images for _, one in batch)
        size = padded_size(images, self.limits.padded_sizes)
        parts = [part(pending.inputs, one.start, one.stop) for pending, one in batch]
        inputs = stacked(parts, self.lane.tower.inputs, size)
        began = self._clock()
        outputs = self.lane.run(inputs)
        seconds = self._clock() - began
        check_outputs(outputs, size)
        self.counts.batches += 1
        self.counts.busy_seconds += seconds
        self.counts.non_finite_inputs += non_finite_images(inputs, images)
        self.counts.non_finite_outputs += non_finite_images(outputs, images)
        position = 0
        for pending, one in batch:
            taken = part(outputs, position, position + one.images)
            position += one.images
            if pending.deliver(
                taken, card=self.index, batch_size=images, began=began, seconds=seconds
            ):
                self.counts.answered_images += pending.images

    def _probe(self) -> bool:
        """Runs the blank image that the card was warmed with; returns whether it is healthy."""
        error = None
        try:
            self.lane.run(self.lane.blank)
        except Exception as failure:
            error = str(_as_failure(failure))
        with self._changed:
            was_healthy = self._health.healthy
            self._health.probed(self._clock(), error)
        if was_healthy != self.healthy:
            _log.warning(
                "card_back" if self.healthy else "card_out_of_order", card=self.index, error=error
            )
        return self.healthy

    def _give_away(self, failed: Sequence[Pending]) -> None:
        """Moves requests that the engine has failed on, and all that wait, to other cards."""
        with self._changed:
            # Those of the batch may still be in the queue, with the rest of their images.
            everything = dict.fromkeys([*failed, *self._queue.empty()])
        kept = [pending for pending in everything if self._is_wanted(pending)]
        for pending in kept:
            pending.leave()
            pending.rewind()
        self._move([pending for pending in kept if not pending.pinned], self)
        for pending in kept:
            if pending.pinned and pending.refuse(self._out_of_order()):
                self.counts.failed_requests += 1


def _as_failure(error: Exception) -> errors.PbserveError:
    if isinstance(error, errors.PbserveError):
        return error
    _log.error("engine_raised", exc_info=error)
    return errors.EngineFailed(f"the engine failed: {type(error).__name__}: {error}")
