"""What happens to every call of an asyncio server: admission, errors as statuses, its end."""

from __future__ import annotations

import contextlib
import inspect
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc_status import rpc_status
from typing_extensions import Self

from service_kit import errors, status
from service_kit.access import Access
from service_kit.caller import ANONYMOUS, current_caller, current_method
from service_kit.credentials import certificate_names
from service_kit.gate import Gate
from service_kit.incidents import described_error

_log = structlog.get_logger(__name__)

# Handlers of other services (health, reflection) pass through here too, and their types are
# those of grpc itself.
_Handler = Any
_Context = Any
_Deserialize = Callable[[bytes], Any] | None


# A caller's own name of a call, for the logs of both sides.
_REQUEST_ID_KEY = "x-request-id"
_LONGEST_REQUEST_ID = 64


@dataclass(frozen=True, slots=True)
class FinishedCall:
    """A call that has ended: its full method, who called, how it ended, and after how long (s)."""

    method: str
    caller: str
    code: grpc.StatusCode
    seconds: float


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Admits calls, and answers a raised `PbserveError` with its status from the table.

    What is not a `PbserveError` is a defect: its trace goes to the log under an incident id,
    and the caller gets INTERNAL with the id alone. While a call runs, every line of the log has
    its caller and its id: the one of the metadata `x-request-id`, or a new one.
    """

    def __init__(
        self,
        access: Access | None = None,
        observers: Sequence[Callable[[FinishedCall], None]] = (),
        *,
        gate: Gate | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Guards every call.

        Args:
            access: admits; None: everybody.
            observers: are told of each call at its end; must not raise or block.
            gate: counts calls, and refuses them when it is closed.
            clock: seconds.
        """
        self._access = access or Access({})
        self._gate = gate or Gate()
        self._observers = observers
        self._clock = clock

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """Returns the rpc's handler with its behaviour guarded."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = str(handler_call_details.method)
        behaviour = (
            handler.unary_unary
            or handler.unary_stream
            or handler.stream_unary
            or handler.stream_stream
        )
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]

        def begin(context: _Context) -> _Call:
            return _Call(method, context, self._access, self._gate, self._observers, self._clock)

        if not handler.request_streaming and self._is_refused_early(handler_call_details):

            async def refused(_messages: Any, context: _Context) -> None:
                # Refused again, for what it is.
                async with begin(context):
                    return

            # gRPC would read the whole message of another kind of rpc first.
            return grpc.stream_stream_rpc_method_handler(refused)
        guard = _guarded_generator if inspect.isasyncgenfunction(behaviour) else _guarded_coroutine
        # Messages are parsed inside the guard: one that cannot be is the caller's error.
        parse = _parse_each if handler.request_streaming else _parse_one
        return make(
            guard(behaviour, parse(handler.request_deserializer), begin),
            response_serializer=handler.response_serializer,
        )

    def _is_refused_early(self, details: grpc.HandlerCallDetails) -> bool:
        """Whether it is known before the message is there that the call will not be admitted."""
        return self._access.refuses(
            str(details.method), _authorizations(details.invocation_metadata)
        )


def _authorizations(metadata: Sequence[Any] | None) -> list[str]:
    return [str(value) for key, value in metadata or () if key == "authorization"]


def _parse_one(deserialize: _Deserialize) -> Callable[[bytes], Any]:
    def parse(message: bytes) -> Any:
        try:
            return deserialize(message) if deserialize else message
        except DecodeError as error:
            raise errors.InvalidRequest(f"a message cannot be parsed: {error}") from error

    return parse


def _parse_each(deserialize: _Deserialize) -> Callable[[AsyncIterator[bytes]], AsyncIterator[Any]]:
    parse = _parse_one(deserialize)

    async def parse_all(messages: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for message in messages:
            yield parse(message)

    return parse_all


class _Call:
    """One call, from its admission to its end."""

    def __init__(
        self,
        method: str,
        context: _Context,
        access: Access,
        gate: Gate,
        observers: Sequence[Callable[[FinishedCall], None]],
        clock: Callable[[], float],
    ) -> None:
        self._method = method
        self._context = context
        self._access = access
        self._gate = gate
        self._observers = observers
        self._clock = clock
        self._began = clock()
        self._caller = ANONYMOUS

    async def __aenter__(self) -> Self:
        metadata = self._context.invocation_metadata() or ()
        given = str(next((value for key, value in metadata if key == _REQUEST_ID_KEY), ""))
        # It may come from anybody, and a log is read on a terminal.
        is_plain = given.isascii() and given.isprintable()
        structlog.contextvars.bind_contextvars(
            request=(given[:_LONGEST_REQUEST_ID] if is_plain else "") or uuid.uuid4().hex[:12]
        )
        try:
            self._caller = self._access.admit(
                self._method,
                _authorizations(metadata),
                certificate_names(self._context),
            )
            self._gate.enter(self._method)
        except errors.PbserveError as error:
            await self._end(error)
        current_caller.set(self._caller)
        current_method.set(self._method)
        structlog.contextvars.bind_contextvars(caller=self._caller)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._end(error)
        finally:
            self._gate.leave(self._method)

    async def _end(self, error: BaseException | None) -> None:
        if not isinstance(error, Exception) or isinstance(error, grpc.aio.AbortError):
            self._tell(self._code(error))
            # Whatever ended the call goes on.
            return
        described = described_error(error, self._method)
        self._tell(status.code_of(described))
        await _abort(self._context, described)

    def _code(self, error: BaseException | None) -> grpc.StatusCode:
        if isinstance(error, grpc.aio.AbortError) or error is None:
            number = self._context.code() or 0
            return next(
                (code for code in grpc.StatusCode if number in (code, code.value[0])),
                grpc.StatusCode.UNKNOWN,
            )
        left = self._context.time_remaining()
        expired = left is not None and left <= 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED

    def _tell(self, code: grpc.StatusCode) -> None:
        call = FinishedCall(self._method, self._caller, code, self._clock() - self._began)
        for observer in self._observers:
            observer(call)


_Begin = Callable[[_Context], _Call]


def _guarded_coroutine(
    behaviour: Callable[..., Awaitable[Any]], parse: Callable[[Any], Any], begin: _Begin
) -> _Handler:
    async def guarded(request: Any, context: _Context) -> Any:
        async with begin(context):
            return await behaviour(parse(request), context)

    return guarded


def _guarded_generator(
    behaviour: Callable[..., AsyncGenerator[Any, None]],
    parse: Callable[[Any], Any],
    begin: _Begin,
) -> _Handler:
    async def guarded(request: Any, context: _Context) -> AsyncIterator[Any]:
        async with (
            begin(context),
            # An abandoned call must run the behaviour's own clean-up now, not when collected.
            contextlib.aclosing(behaviour(parse(request), context)) as answers,
        ):
            async for answer in answers:
                yield answer

    return guarded


async def _abort(context: _Context, error: errors.PbserveError) -> NoReturn:
    await context.abort_with_status(rpc_status.to_status(status.to_proto(error)))
    raise AssertionError("abort_with_status returned")  # pragma: no cover
