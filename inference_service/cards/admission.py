"""Who gets into a card's queue: the one object that takes places, frees them, and counts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from inference_service.cards.card_spec import CardLimits
from inference_service.cards.forecast import CardForecast
from inference_service.cards.places import Places
from inference_service.cards.queue import CardQueue
from inference_service.cards.queued_request import QueuedRequest, is_expired
from inference_service.cards.status import CardCounts, Ending, RunCounts
from service_kit import errors


class TooLate(Exception):
    """A card would not be done before a request's deadline, and another one may be."""

    def __init__(self, card: int) -> None:
        """Names the card."""
        super().__init__(f"card {card} would be too late")
        self.card = card


class Admission:
    """Of one card. Whoever calls it holds the card's lock, except for `freed`, which takes it."""

    def __init__(
        self,
        places: Places,
        forecast: CardForecast,
        queue: CardQueue,
        lock: AbstractContextManager[object],
        clock: Callable[[], float],
    ) -> None:
        """Nobody is admitted yet.

        Args:
            places: of the card.
            forecast: looks at the deadlines of those who come.
            queue: is left by those who go before they are computed.
            lock: the card's.
            clock: seconds, as for the requests' deadlines.
        """
        self._places = places
        self._forecast = forecast
        self._queue = queue
        self._lock = lock
        self._clock = clock
        self._answered_images = 0
        self._endings = dict.fromkeys(Ending, 0)

    @property
    def images(self) -> int:
        """Images that somebody waits for."""
        return self._places.images

    @property
    def size(self) -> int:
        """Bytes of their inputs."""
        return self._places.size

    def counts(self, runs: RunCounts) -> CardCounts:
        """Returns what became of requests; `runs`: what the engine has computed."""
        return CardCounts(
            answered_images=self._answered_images,
            failed_requests=self._endings[Ending.FAILED],
            expired_requests=self._endings[Ending.EXPIRED],
            cancelled_requests=self._endings[Ending.CANCELLED],
            refused_requests=self._endings[Ending.REFUSED],
            runs=runs,
        )

    def admit(self, request: QueuedRequest, limits: CardLimits, *, elsewhere: bool) -> None:
        """Gives a new request its place; who gets none is counted.

        Args:
            request: that came now.
            limits: of the card.
            elsewhere: whether another card can be asked: then being too late here counts for
                nothing.

        Raises:
            DeadlineExpired: the deadline has passed, or the card would not be done before it if
                it had nothing else.
            QueueFull: too many images or bytes are outstanding, or what waits takes until after
                the deadline.
            TooLate: with `elsewhere`, instead of an error for what the card has to do before.
        """
        refusal = self._refusal(request, limits, elsewhere=elsewhere)
        if refusal is None:
            self.take(request)
            return
        expired = isinstance(refusal, errors.DeadlineExpired)
        self._endings[Ending.EXPIRED if expired else Ending.REFUSED] += 1
        raise refusal

    def _refusal(
        self, request: QueuedRequest, limits: CardLimits, *, elsewhere: bool
    ) -> errors.PbserveError | None:
        now = request.arrived
        if request.left(now) <= 0:
            return errors.DeadlineExpired("the deadline had passed on arrival")
        late = self._forecast.refusal(request, now, limits)
        if late and elsewhere:
            raise TooLate(self._places.card)
        return self._places.refusal(request.priority, request.images, request.size, limits) or late

    def take(self, request: QueuedRequest) -> None:
        """Gives a request its place whether or not there is room; not one that is cancelled."""
        if not request.settle(self):
            return
        self._places.take(request.priority, request.images, request.size, request.done)

    def grow(self, request: QueuedRequest, size: int, limits: CardLimits) -> None:
        """Gives a request that has its place more room; `size`: the bytes that it really has.

        Raises:
            QueueFull: there is no room for them; whoever answers the request counts it.
        """
        if size <= request.size or not request.has_place:
            return
        self._places.free(request.priority, request.images, request.size)
        refusal = self._places.refusal(request.priority, request.images, size, limits)
        if refusal is None:
            request.size = size
        self._places.take(request.priority, request.images, request.size)
        if refusal:
            raise refusal

    def freed(self, request: QueuedRequest, ending: Ending | None) -> None:
        """See `Place`: frees and counts in one step."""
        with self._lock:
            self._places.free(request.priority, request.images, request.size, request.done)
            if request.done < request.images:
                # Else its inputs would stay, and count for nothing.
                self._queue.discard(request)
            if request.is_cancelled:
                expired = is_expired(request.deadline, self._clock())
                ending = Ending.EXPIRED if expired else Ending.CANCELLED
            if ending is Ending.ANSWERED:
                self._answered_images += request.images
            if ending:
                self._endings[ending] += 1
