"""When a card would have answered. Whoever uses it holds the card's lock; the clock is theirs."""

from __future__ import annotations

from inference_service.cards.batch_tensors import Tensors
from inference_service.cards.batching import Priority, Slice, padded_size
from inference_service.cards.card_spec import CardLimits, CardSpec
from inference_service.cards.deadlines import BatchSeconds, images_ahead, lost, seconds_of
from inference_service.cards.places import Places
from inference_service.cards.queue import CardQueue
from inference_service.cards.queued_request import QueuedRequest
from inference_service.cards.run_times import Estimate, RunTimes
from service_kit import errors

_SPARE = 1.25


class CardForecast:
    """Looks at a card's queue by the clock: on arrival of a request, and when a batch begins."""

    def __init__(
        self, card_spec: CardSpec, places: Places, queue: CardQueue, times: RunTimes
    ) -> None:
        """Looks at these."""
        self._card = card_spec.placement.card
        self._places, self._queue, self._times = places, queue, times
        self._any_size = any(-1 in spec.shape[1:] for spec in card_spec.tower.inputs)
        self._blank_values = max(1, _values(card_spec.blank))
        # Images of the queue that will not be reached, as seen once since the last batch was taken.
        self._lost: dict[Priority, float] | None = None
        # Whether somebody was too late since the queue was empty.
        self._overloaded = False

    def weight(self, inputs: Tensors) -> float:
        """Returns the weight of each image; see `Estimate`."""
        return max(1, _values(inputs)) / self._blank_values if self._any_size else 1.0

    def refusal(
        self, request: QueuedRequest, now: float, limits: CardLimits
    ) -> errors.PbserveError | None:
        """Returns why a new request would be too late; None: it may be in time.

        Args:
            request: has no place yet.
            now: on the card's clock.
            limits: of the card.

        Returns:
            DeadlineExpired when a card with nothing else to do would take too long; QueueFull,
            with the seconds until what stands before it is done, when that is in the way.
        """
        if request.deadline is None:
            return None
        estimate = self._times.estimate(now)
        if estimate is None:
            return None
        priority, images = request.priority, request.images
        seconds, limit = _padded(estimate, limits), limits.batch
        # Of images of any size it is not known yet what they cost.
        own = 0 if self._any_size else images
        left, back = request.left(now), estimate.way_back
        alone = seconds_of(own, limit, seconds) + back
        if alone > left:
            return errors.DeadlineExpired(
                f"the deadline passes in {max(0.0, left):.3f} s, and card {self._card} takes about "
                f"{alone:.3f} s for {images} images: give more time, or send fewer"
            )
        waiting = self._waiting()
        ahead = self._ahead(priority, own, waiting, limit)
        done = estimate.running + seconds_of(ahead + own, limit, seconds) + back
        if done > left:
            unreached = self._unreached(estimate, now, limits)
            waiting = {one: max(0.0, waiting[one] - unreached[one]) for one in waiting}
            ahead = self._ahead(priority, own, waiting, limit)
            done = estimate.running + seconds_of(ahead + own, limit, seconds) + back
        if done <= left:
            return None
        self._overloaded = True
        return errors.QueueFull(
            f"the deadline passes in {left:.3f} s, and card {self._card} needs about {done:.3f} s "
            f"with what waits there: give {images} more time, send it later, or to another server",
            retry_after=done,
        )

    def take(
        self, now: float, limits: CardLimits
    ) -> tuple[list[tuple[QueuedRequest, Slice]], list[QueuedRequest]]:
        """Takes the next batch, and those who are too late for any; see `CardQueue`.

        While it is not known what a batch takes, only those whose deadline has passed are so.
        """
        estimate = self._times.estimate(now) if self._queue.has_deadlines else None
        if estimate is None:
            taken = self._queue.take(limits.batch)
            batch = [one for one in taken if one[0].left(now) >= 0]
            late = [request for request, _ in taken if request.left(now) < 0]
        else:
            seconds = _padded(estimate, limits)
            taken, late = self._queue.take_timely(
                limits.batch, now + estimate.way_back, seconds, overloaded=self._overloaded
            )
            batch = taken
        self._overloaded = bool(self._queue) and (self._overloaded or bool(late))
        for request, part in taken:
            self._places.begin(request.priority, part.images)
        self._lost = None
        return batch, late

    def due(self, now: float, limits: CardLimits) -> float:
        """Returns when the next batch of a queue with requests is due, on the clock of `now`."""
        delay = limits.max_queue_delay
        if delay == 0 or self._queue.has_batch_of(limits.batch):
            return now
        needed = self._needed(now, limits)
        return min(request.due_at(delay, needed) for request in self._queue)

    def _needed(self, now: float, limits: CardLimits) -> float:
        """Returns the seconds that a request needs when it begins to wait no longer; 0: not known.

        A full batch's, and some to spare: a thread that waits does not wake up on the dot.
        """
        estimate = self._times.estimate(now)
        if estimate is None:
            return 0.0
        seconds = _padded(estimate, limits)(limits.batch, 1.0)
        return _SPARE * (seconds + estimate.way_back)

    def _waiting(self) -> dict[Priority, float]:
        if not self._any_size:
            return dict(self._places.waiting)
        waiting = dict.fromkeys(Priority, 0.0)
        for request in self._queue:
            waiting[request.priority] += (request.images - request.done) * request.weight
        return waiting

    def _ahead(
        self, priority: Priority, images: int, waiting: dict[Priority, float], limit: int
    ) -> float:
        return images_ahead(priority, images, waiting, limit, self._queue.passed_over)

    def _unreached(
        self, estimate: Estimate, now: float, limits: CardLimits
    ) -> dict[Priority, float]:
        """Looks through the queue, at most once for each batch."""
        if self._lost is None:
            self._lost = dict.fromkeys(Priority, 0.0)
            queue = list(self._queue.timed(now + estimate.way_back))
            timed = [one for one, _ in queue]
            for position, one in lost(
                timed, limits.batch, _padded(estimate, limits), estimate.running
            ):
                self._lost[queue[position][1].priority] += one.rest * one.weight
        return self._lost


def _padded(estimate: Estimate, limits: CardLimits) -> BatchSeconds:
    return lambda images, weight: estimate.seconds(padded_size(images, limits.padded_sizes), weight)


def _values(inputs: Tensors) -> float:
    """Returns the number of values in one image of all inputs."""
    return sum(array.size / max(1, len(array)) for array in inputs.values())
