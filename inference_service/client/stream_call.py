"""One stream of the synchronous client, over as many calls as it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from inference_service.client import codec
from inference_service.client.image_inputs import Inputs
from inference_service.client.in_flight import InFlightRequests
from inference_service.client.results import StreamAnswer
from pbserve.inference.v1 import inference_pb2 as pb
from service_kit import errors
from service_kit.client.attempts import Attempts
from service_kit.client.channel import typed_errors
from service_kit.client.client_span import NO_SPAN, ClientSpan

# Begins a call that sends what the iterator gives.
OpenCall = Callable[[Iterator[pb.StreamPredictRequest], ClientSpan], Any]


class StreamCall:
    """Reads groups in one thread and answers in another; the caller takes them in a third.

    A thread for the answers, so that the caller hears at once of what fails on this side.
    """

    def __init__(
        self,
        open_call: OpenCall,
        common: pb.PredictRequest,
        in_flight: InFlightRequests[pb.StreamPredictRequest],
        attempts: Attempts,
        begin_span: Callable[[], ClientSpan],
    ) -> None:
        """Prepares a stream of requests that have `common` in common.

        Args:
            open_call: begins a call; is asked again when one has been lost.
            common: what all requests say.
            in_flight: has the groups without an answer.
            attempts: of the stream.
            begin_span: of the stream, when it is read for the first time.
        """
        self._open_call = open_call
        self._common = common
        self._in_flight = in_flight
        self._attempts = attempts
        self._begin_span = begin_span
        self._span = NO_SPAN
        # Guards what follows and the requests in flight; a condition for each reason to wait,
        # so that no thread is woken for nothing.
        self._lock = threading.Lock()
        self._place = threading.Condition(self._lock)
        self._unsent = threading.Condition(self._lock)
        self._answered = threading.Condition(self._lock)
        self._stopped = False
        self._call: Any = None
        # Of the call that may send; the thread of an older one ends.
        self._number = 0
        self._read_failure: BaseException | None = None
        self._failure: BaseException | None = None

    def answers(self, groups: Iterable[Inputs]) -> Generator[StreamAnswer, None, None]:
        """Yields the answers; ends everything when it is closed.

        Raises:
            PbserveError: what ended the last call.
            BaseException: whatever `groups` raises, after the answers to what it gave.
        """
        threading.Thread(target=self._read, args=(iter(groups),), daemon=True).start()
        # Else this frame would keep the caller's iterator after the thread has left it.
        del groups
        with self._begin_span() as self._span:
            threading.Thread(target=self._receive, daemon=True).start()
            try:
                while (answer := self._next()) is not None:
                    yield answer
            finally:
                self._stop()

    def _next(self) -> StreamAnswer | None:
        with self._lock:
            self._answered.wait_for(
                lambda: self._in_flight.has_ready or self._in_flight.is_settled or self._failure
            )
            answer = self._in_flight.take()
            self._place.notify()
        if answer is None and (failure := self._failure or self._read_failure):
            raise failure
        return answer

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            self._number += 1
            call = self._call
            self._tell_all()
        if call is not None:
            call.cancel()

    def _read(self, groups: Iterator[Inputs]) -> None:
        try:
            for index, images in enumerate(groups):
                message = self._message(index, images)
                with self._lock:
                    self._place.wait_for(lambda: self._in_flight.has_place or self._stopped)
                    if self._stopped:
                        return
                    if isinstance(message, errors.PbserveError):
                        self._in_flight.fail(index, message)
                        self._answered.notify()
                    else:
                        self._in_flight.add(index, message)
                        self._unsent.notify_all()
        except BaseException as error:
            self._read_failure = error
        finally:
            with self._lock:
                self._in_flight.end()
                self._tell_all()

    def _tell_all(self) -> None:
        for condition in (self._place, self._unsent, self._answered):
            condition.notify_all()

    def _message(self, index: int, images: Inputs) -> pb.StreamPredictRequest | errors.PbserveError:
        try:
            request = codec.with_images(self._common, images, str(index))
        except errors.PbserveError as error:
            return error
        return pb.StreamPredictRequest(request=request)

    def _receive(self) -> None:
        try:
            while self._has_work():
                with self._lock:
                    self._number += 1
                    requests = self._requests(self._number)
                failure = self._receive_from(self._open_call(requests, self._span))
                with self._lock:
                    if self._stopped or self._in_flight.is_settled:
                        return
                    self._span.failed(failure)
                    pause = self._in_flight.lose(failure, left=self._attempts.left)
                    self._number += 1
                    self._tell_all()
                    self._unsent.wait_for(lambda: self._stopped, pause)
        except BaseException as error:
            self._failure = error
        finally:
            with self._lock:
                self._tell_all()

    def _has_work(self) -> bool:
        """Waits for a group to be sent; False: there will be none."""
        with self._lock:
            self._unsent.wait_for(
                lambda: self._in_flight.has_unsent or self._in_flight.is_settled or self._stopped,
                self._attempts.timeout,
            )
            if self._stopped or self._in_flight.is_settled:
                return False
            if not self._in_flight.has_unsent:
                raise errors.DeadlineExpired("the stream took longer than its deadline")
            return True

    def _receive_from(self, call: Any) -> errors.PbserveError:
        """Takes all answers of one call and returns what ended it."""
        with self._lock:
            self._call = call
            stopped = self._stopped
        if stopped:
            call.cancel()
        try:
            with typed_errors():
                for response in call:
                    self._receive_one(codec.stream_answer(response))
        except errors.PbserveError as error:
            call.cancel()
            return error
        return errors.ServerStopping("the server ended the stream before it had answered all of it")

    def _receive_one(self, answer: StreamAnswer) -> None:
        with self._lock:
            self._in_flight.answer(answer, now=time.monotonic(), left=self._attempts.left)
            self._answered.notify()
            if self._in_flight.has_unsent or self._in_flight.is_settled:
                self._unsent.notify_all()

    def _requests(self, number: int) -> Iterator[pb.StreamPredictRequest]:
        """Yields what is to be sent, until all is answered or another call has this one's place."""
        while True:
            with self._lock:
                while (message := self._due(number)) is None:
                    if number != self._number or self._in_flight.is_settled:
                        return
                    self._unsent.wait(self._in_flight.due_in(time.monotonic()))
            yield message

    def _due(self, number: int) -> pb.StreamPredictRequest | None:
        return self._in_flight.due(time.monotonic()) if number == self._number else None
