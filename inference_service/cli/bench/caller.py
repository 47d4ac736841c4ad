"""One call after the other, each with a deadline of its own, which a stream cannot give."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from typing_extensions import Unpack

from inference_service.cli.bench.requests import Request
from inference_service.cli.bench.schedule import Schedule
from inference_service.cli.bench.tally import Tally
from inference_service.client import InferenceClient
from inference_service.client.codec import RequestOptions
from service_kit import errors

# Before the next call to a server that is not there, in a closed loop.
_GONE_SECONDS = 0.2


class Caller:
    """A thread that calls when a schedule says so, and waits for the answer; many may share one."""

    def __init__(
        self,
        client: InferenceClient,
        model: str,
        requests: Sequence[Request],
        schedule: Schedule,
        tally: Tally,
        stopped: threading.Event,
        clock: Callable[[], float],
        *,
        seconds: float,
        first: int,
        images: int,
        **options: Unpack[RequestOptions],
    ) -> None:
        """Starts.

        Args:
            client: calls; is closed to end the call of that moment.
            model: that is asked.
            requests: used in turn, beginning with number `first`.
            schedule: says when.
            tally: counts.
            stopped: is set before the client is closed.
            clock: that of the schedule.
            seconds: from the moment when a call is due to its deadline: one that goes late has
                less time, as a caller would.
            first: see `requests`.
            images: in each request.
            options: of the requests.
        """
        self.schedule = schedule
        self._client, self._model, self._requests = client, model, requests
        self._tally, self._clock, self._seconds = tally, clock, seconds
        self._stopped = stopped
        self._sent, self._images, self._options = first, images, options
        self._due: float | None = None
        self._lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def give_up(self, kind: str) -> None:
        """Counts the call of this moment as failed."""
        due = self._ended()
        if due is not None:
            self._tally.failed(due, kind)

    def _run(self) -> None:
        while (due := self.schedule.next()) is not None:
            with self._lock:
                self._due = due
            self._sent += 1
            self._call(due)

    def _call(self, due: float) -> None:
        pause = 0.0
        request = self._requests[self._sent % len(self._requests)]
        left = max(0.0, due + self._seconds - self._clock())
        try:
            answer = self._client.predict(self._model, request, timeout=left, **self._options)
        except errors.PbserveError as error:
            gone = isinstance(error, errors.ServerStopping)
            pause = error.retry_after or (_GONE_SECONDS if gone else 0.0)
            self.give_up(error.reason)
        except (RuntimeError, ValueError):
            # The client was closed beneath it, at the end: that counts as unanswered.
            if not self._stopped.is_set():
                raise
        else:
            if self._ended() is not None:
                self._tally.answered(due, self._clock(), self._images, answer)
        self.schedule.answered(pause)

    def _ended(self) -> float | None:
        """Returns when the call of this moment was due, once."""
        with self._lock:
            due, self._due = self._due, None
        return due
