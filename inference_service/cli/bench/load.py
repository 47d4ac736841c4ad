"""Streams that ask a server again and again for a while."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from inference_service.cli.bench.caller import Caller
from inference_service.cli.bench.requests import Request
from inference_service.cli.bench.schedule import MAX_OUTSTANDING, ClosedLoop, OpenLoop, Schedule
from inference_service.cli.bench.tally import Span, Tally
from inference_service.cli.inputs.named_images import size_of
from inference_service.client import InferenceClient
from inference_service.client.codec import RequestOptions
from service_kit import errors

UNANSWERED = "UNANSWERED"
# Of requests under way, all streams together: an open loop must not fill the memory when the
# server answers nothing.
_MAX_BYTES = 512 * 2**20
# Threads that call, all streams together.
_MAX_CALLERS = 512
# Between two tries to open a stream.
_REOPEN_SECONDS = 0.2
# What a tick that came early leaves of the time is none of its own.
_SLIVER_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What is asked, and how.

    Attributes:
        requests: used in turn, `batch` images in each.
        streams: at a time.
        window: requests under way in each stream, when `rate` is None.
        rate: requests a second that are due, all streams together; None: as answers come.
        seconds: that are measured.
        warmup_seconds: before these.
        drain_seconds: that the last answers may take.
        timeout: seconds that each request has from the moment when it is due; requests are calls of
            their own then, since a stream has one deadline for all. None: they have no deadline.
    """

    model: str
    requests: Sequence[Request]
    batch: int
    options: RequestOptions
    streams: int
    window: int
    rate: float | None
    seconds: float
    warmup_seconds: float
    drain_seconds: float
    timeout: float | None = None

    @property
    def max_outstanding(self) -> int:
        """Requests under way in a stream when the server answers none."""
        room = _MAX_BYTES // max(1, self.streams * _request_bytes(self.requests[0]))
        return min(MAX_OUTSTANDING, max(1, room))

    @property
    def callers(self) -> int:
        """Threads that call for one stream, when requests have deadlines."""
        if self.rate is None:
            return self.window
        # As many calls as there can be under way until their deadlines.
        needed = math.ceil(self.rate / self.streams * (self.timeout or 0.0)) + 1
        return max(1, min(needed, self.max_outstanding, _MAX_CALLERS // self.streams))


class Load:
    """A load that runs on threads of its own from the moment when it is made."""

    def __init__(
        self,
        client: InferenceClient,
        plan: LoadPlan,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Starts."""
        self._client, self._plan, self._clock = client, plan, clock
        self.began = clock()
        begins = self.began + plan.warmup_seconds
        self.span = Span(begins, begins + plan.seconds)
        self.tally = Tally(self.span, plan.timeout)
        self._ended = self.span.ends
        self._stopped = threading.Event()
        self._streams: list[_Stream | Caller] = []
        for number in range(plan.streams):
            self._streams += self._started(number)

    def _started(self, number: int) -> Sequence[_Stream | Caller]:
        plan, schedule = self._plan, self._schedule(number)
        if plan.timeout is None:
            stream = _Stream(
                self._client, plan, schedule, self.tally, self._stopped, number, self._clock
            )
            return [stream]
        return [
            Caller(
                self._client,
                plan.model,
                plan.requests,
                schedule,
                self.tally,
                self._stopped,
                self._clock,
                seconds=plan.timeout,
                first=number + caller,
                images=plan.batch,
                **plan.options,
            )
            for caller in range(plan.callers)
        ]

    def _wait(self, seconds: float) -> None:
        """Returns when all streams have ended, after so many seconds at most."""
        ends = self._clock() + seconds
        for stream in self._streams:
            stream.thread.join(max(0.0, ends - self._clock()))

    def _schedule(self, number: int) -> Schedule:
        plan = self._plan
        if plan.rate is None:
            return ClosedLoop(plan.window, self.span.ends, self._stopped, self._clock)
        between = plan.streams / plan.rate
        # Streams take turns.
        first = self.began + between * number / plan.streams
        return OpenLoop(
            first, self.span.ends, between, plan.max_outstanding, self._stopped, self._clock
        )

    def ticks(self, seconds: float) -> Iterator[tuple[float, float]]:
        """Yields seconds since the start, and since the tick before, until nothing more is due."""
        last = self.began
        while (left := self.span.ends - last) > _SLIVER_SECONDS:
            self._stopped.wait(min(seconds, left))
            now = self._clock()
            yield now - self.began, now - last
            last = now

    @property
    def measured_seconds(self) -> float:
        """Seconds that were measured: fewer than planned when it was ended early."""
        return max(min(self._ended, self.span.ends) - self.span.begins, 1e-9)

    def end(self) -> None:
        """Sends no more, waits for the last answers, and counts what has none."""
        self._ended = self._clock()
        self._stopped.set()
        for stream in self._streams:
            stream.schedule.wake()
        self._wait(self._plan.drain_seconds)
        # Ends the streams that still wait.
        self._client.close()
        self._wait(1.0)
        for stream in self._streams:
            stream.give_up(UNANSWERED)


def _request_bytes(inputs: Request) -> int:
    return sum(map(size_of, inputs.values()))


class _Stream:
    def __init__(
        self,
        client: InferenceClient,
        plan: LoadPlan,
        schedule: Schedule,
        tally: Tally,
        stopped: threading.Event,
        number: int,
        clock: Callable[[], float],
    ) -> None:
        self._client, self._plan, self._clock = client, plan, clock
        self.schedule, self._tally, self._stopped = schedule, tally, stopped
        self._sent = number
        # Of the requests under way, when they were due; those of one call alone.
        self._due: dict[int, float] = {}
        self._call = 0
        self._lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._stream()
            except errors.PbserveError as error:
                if self._stopped.is_set():
                    return
                self.give_up(error.reason)
                self._stopped.wait(_REOPEN_SECONDS)
            except (RuntimeError, ValueError):
                # The client was closed beneath it, at the end.
                if not self._stopped.is_set():
                    raise
            else:
                return

    def give_up(self, kind: str) -> None:
        """Counts what is under way as failed."""
        with self._lock:
            self._call += 1
            lost, self._due = self._due, {}
        for due in lost.values():
            self._tally.failed(due, kind)
            self.schedule.answered(0.0)

    def _stream(self) -> None:
        plan = self._plan
        answers = self._client.stream(
            plan.model, self._groups(self._call), window=MAX_OUTSTANDING + 1, **plan.options
        )
        for answer in answers:
            now = self._clock()
            with self._lock:
                due = self._due.pop(answer.index, None)
            if due is None:
                # It has been given up.
                continue
            if answer.error:
                self._tally.failed(due, answer.error.reason)
                self.schedule.answered(answer.error.retry_after or 0.0)
            else:
                self._tally.answered(due, now, plan.batch, answer.result())
                self.schedule.answered(0.0)

    def _groups(self, call: int) -> Iterator[Request]:
        requests = self._plan.requests
        index = 0
        while (due := self.schedule.next()) is not None:
            with self._lock:
                is_current = call == self._call
                if is_current:
                    self._due[index] = due
            if not is_current:
                # The thread that reads here for a call which has ended has waited until now.
                self.schedule.give_back(due)
                return
            index += 1
            self._sent += 1
            yield requests[self._sent % len(requests)]
