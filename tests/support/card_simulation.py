"""A card by a clock of its own: its queue, its decisions and an engine's times, without threads."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from inference_service.cards.batch_limit import BatchTiming
from inference_service.cards.batching import Priority
from inference_service.cards.card_spec import CardLimits, CardSpec
from inference_service.cards.forecast import CardForecast
from inference_service.cards.places import Places
from inference_service.cards.queue import CardQueue
from inference_service.cards.queued_request import QueuedRequest
from inference_service.cards.run_times import RunTimes
from inference_service.engine.devices import Device, Placement
from service_kit import errors
from tests.support.engines import pixels
from tests.support.manifests import tower


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that comes at a time, with so many seconds of patience."""

    at: float
    patience: float = math.inf
    images: int = 1
    priority: Priority = Priority.INTERACTIVE


@dataclass
class CardSimulation:
    """Plays arrivals against a card.

    `run_seconds` says what a batch of so many images takes that begins at a time; `way_back` what
    its answers take then. `warmed` is what warming measured. Without `refuses`, all are queued.
    """

    limits: CardLimits
    run_seconds: Callable[[int, float], float]
    way_back: Callable[[], float] = lambda: 0.0
    warmed: tuple[BatchTiming, ...] = ()
    refuses: bool = True
    outcomes: Counter[str] = field(default_factory=Counter)
    # Of requests that were answered: when they came, when the answer was there, and in time.
    answers: list[tuple[Arrival, float, bool]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        spec = CardSpec(
            tower(),
            Placement(0, 0, Device("cpu", 0), ()),
            lambda inputs: inputs,
            {"input": pixels(0)},
            self.warmed,
        )
        self.queue, self.places = CardQueue(), Places(spec)
        self.times = RunTimes(self.warmed)
        self.forecast = CardForecast(spec, self.places, self.queue, self.times)
        self._arrivals: dict[int, Arrival] = {}

    def play(self, arrivals: Iterable[Arrival]) -> None:
        """Plays them all, each to its one outcome."""
        coming = sorted(arrivals, key=lambda one: one.at)
        ends: list[tuple[float, int, list[tuple[QueuedRequest, int]]]] = []
        returns: list[tuple[float, int, float]] = []
        at = 0
        while at < len(coming) or ends or self.queue:
            # The earliest event: an answer that is on its way, the end of a run, an arrival.
            now = min(
                coming[at].at if at < len(coming) else math.inf,
                ends[0][0] if ends else math.inf,
                returns[0][0] if returns else math.inf,
            )
            if returns and returns[0][0] == now:
                _, _, ended = heapq.heappop(returns)
                self.times.returned(ended, now)
            elif ends and ends[0][0] == now:
                _, _, batch = ends.pop()
                self.times.ended(now, ran=True)
                back = now + self.way_back()
                heapq.heappush(returns, (back, len(returns), now))
                for request, stop in batch:
                    self._end(request, stop, back)
            else:
                self._arrive(coming[at], now)
                at += 1
            while not ends and self.queue:
                self._begin(now, ends)

    def _arrive(self, arrival: Arrival, now: float) -> None:
        deadline = None if math.isinf(arrival.patience) else now + arrival.patience
        images, priority = arrival.images, arrival.priority
        request = QueuedRequest({}, images, "a", priority, now, deadline, pinned=True)
        refusal = self.forecast.refusal(request, now, self.limits)
        if refusal and self.refuses:
            full = isinstance(refusal, errors.QueueFull)
            assert full or isinstance(refusal, errors.DeadlineExpired)
            self.outcomes["refused" if full else "impossible"] += 1
            return
        self._arrivals[id(request)] = arrival
        self.places.take(priority, images, 0)
        self.queue.put(request)

    def _begin(
        self, now: float, ends: list[tuple[float, int, list[tuple[QueuedRequest, int]]]]
    ) -> None:
        batch, late = self.forecast.take(now, self.limits)
        for request in late:
            self._leave(request)
            self.outcomes["dropped"] += 1
        if batch:
            images = sum(part.images for _, part in batch)
            self.batches.append(images)
            self.times.began(now, images, 1.0)
            seconds = self.run_seconds(images, now)
            ends.append((now + seconds, 0, [(request, part.stop) for request, part in batch]))

    def _end(self, request: QueuedRequest, stop: int, back: float) -> None:
        if stop < request.images:
            return
        in_time = request.deadline is None or back <= request.deadline
        self.outcomes["answered" if in_time else "too late"] += 1
        self.answers.append((self._arrivals[id(request)], back, in_time))
        self._leave(request)

    def _leave(self, request: QueuedRequest) -> None:
        self.places.free(request.priority, request.images, 0, request.done)
        del self._arrivals[id(request)]

    def in_time(self, begins: float, ends: float) -> float:
        """Returns the images a second that were there in time, within some seconds."""
        return sum(
            arrival.images for arrival, at, good in self.answers if good and begins <= at < ends
        ) / (ends - begins)
