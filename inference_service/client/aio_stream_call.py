"""One stream of the asyncio client, over as many calls as it takes."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
)
from typing import Any

import grpc

from inference_service.client import codec
from inference_service.client.aio_groups import items, request_of
from inference_service.client.image_inputs import Inputs
from inference_service.client.in_flight import InFlightRequests
from inference_service.client.results import StreamAnswer
from pbserve.inference.v1 import inference_pb2 as pb
from service_kit import errors, status
from service_kit.client.attempts import Attempts
from service_kit.client.client_span import NO_SPAN, ClientSpan

# Begins a call that sends what the iterator gives.
OpenCall = Callable[[AsyncIterator[pb.StreamPredictRequest], ClientSpan], Awaitable[Any]]
# What grpc.aio says in place of the status when the call ends while it writes (grpcio 1.85,
# grpc/aio/_call.py, `_write`).
_STATUS_LOST = "Internal error from Core"


class AsyncStreamCall:
    """Reads groups in one task and answers in another; the caller takes them in a third."""

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
        self._changed = asyncio.Event()
        # Of the call that may send; the task of an older one ends.
        self._number = 0
        self._read_failure: BaseException | None = None
        self._failure: BaseException | None = None

    async def answers(
        self, groups: Iterable[Inputs] | AsyncIterable[Inputs]
    ) -> AsyncGenerator[StreamAnswer, None]:
        """Yields the answers; ends everything when it is closed.

        Raises:
            PbserveError: what ended the last call.
            BaseException: whatever `groups` raises, after the answers to what it gave.
        """
        with self._begin_span() as self._span:
            tasks = [
                asyncio.create_task(self._read(items(groups))),
                asyncio.create_task(self._receive()),
            ]
            # Else this frame would keep the caller's iterator after the task has left it.
            del groups
            try:
                while (answer := await self._next()) is not None:
                    yield answer
            finally:
                self._number += 1
                self._changed.set()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _next(self) -> StreamAnswer | None:
        await self._until(
            lambda: self._in_flight.has_ready or self._in_flight.is_settled or bool(self._failure)
        )
        answer = self._in_flight.take()
        self._changed.set()
        if answer is None and (failure := self._failure or self._read_failure):
            raise failure
        return answer

    async def _until(self, true: Callable[[], bool], seconds: float | None = None) -> None:
        """Waits until something is true, or so many seconds are over."""
        ends = math.inf if seconds is None else time.monotonic() + seconds
        while not true() and (left := ends - time.monotonic()) > 0:
            await self._change(left)

    async def _change(self, seconds: float) -> None:
        """Waits until something has changed, or so many seconds are over."""
        self._changed.clear()
        loop = asyncio.get_running_loop()
        timer = None if math.isinf(seconds) else loop.call_later(seconds, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            if timer:
                timer.cancel()

    async def _read(self, groups: AsyncGenerator[Inputs, None]) -> None:
        index = 0
        try:
            async for images in groups:
                message = await self._message(index, images)
                await self._until(lambda: self._in_flight.has_place)
                if isinstance(message, errors.PbserveError):
                    self._in_flight.fail(index, message)
                else:
                    self._in_flight.add(index, message)
                self._changed.set()
                index += 1
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._read_failure = error
        finally:
            self._in_flight.end()
            self._changed.set()
            await groups.aclose()

    async def _message(
        self, index: int, images: Inputs
    ) -> pb.StreamPredictRequest | errors.PbserveError:
        try:
            request = await request_of(
                images, lambda: codec.with_images(self._common, images, str(index))
            )
        except errors.PbserveError as error:
            return error
        return pb.StreamPredictRequest(request=request)

    async def _receive(self) -> None:
        try:
            while await self._has_work():
                self._number += 1
                call = await self._open_call(self._requests(self._number), self._span)
                failure = await self._receive_from(call)
                if self._in_flight.is_settled:
                    return
                self._span.failed(failure)
                pause = self._in_flight.lose(failure, left=self._attempts.left)
                self._number += 1
                self._changed.set()
                await asyncio.sleep(pause)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._failure = error
        finally:
            self._changed.set()

    async def _has_work(self) -> bool:
        """Waits for a group to be sent; False: there will be none."""
        await self._until(
            lambda: self._in_flight.has_unsent or self._in_flight.is_settled, self._attempts.timeout
        )
        if not self._in_flight.has_unsent and not self._in_flight.is_settled:
            raise errors.DeadlineExpired("the stream took longer than its deadline")
        return not self._in_flight.is_settled

    async def _receive_from(self, call: Any) -> errors.PbserveError:
        """Takes all answers of one call and returns what ended it."""
        try:
            async for response in call:
                answer = codec.stream_answer(response)
                self._in_flight.answer(answer, now=time.monotonic(), left=self._attempts.left)
                self._changed.set()
        except grpc.RpcError as error:
            return _reason(error)
        except errors.PbserveError as error:
            return error
        finally:
            call.cancel()
        return errors.ServerStopping("the server ended the stream before it had answered all of it")

    async def _requests(self, number: int) -> AsyncIterator[pb.StreamPredictRequest]:
        """Yields what is to be sent, until all is answered or another call has this one's place."""
        while number == self._number and not self._in_flight.is_settled:
            now = time.monotonic()
            message = self._in_flight.due(now)
            if message is not None:
                yield message
            else:
                # Asked for anew after each change: what was refused meanwhile is due later.
                due_in = self._in_flight.due_in(now)
                await self._change(math.inf if due_in is None else due_in)


def _reason(error: grpc.RpcError) -> errors.PbserveError:
    """Returns what ended a call; one that may have been UNAVAILABLE counts as that."""
    if error.code() is grpc.StatusCode.INTERNAL and error.details() == _STATUS_LOST:
        return errors.ServerStopping("the stream ended while a request was being sent")
    return status.from_rpc_error(error)
