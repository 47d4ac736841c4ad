"""Guards every call of an asyncio server, whatever kind its rpc is of."""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from service_kit import errors
from service_kit.auth.access import Access
from service_kit.server.call_spans import CallSpans
from service_kit.server.in_flight import InFlightCalls
from service_kit.server.one_message import reading_one_message
from service_kit.server.served_call import CallRules, FinishedCall, ServedCall, authorizations

# Handlers of other services (health, reflection) pass through here too, and their types are
# those of grpc itself.
_Handler = Any
_Context = Any
_Deserialize = Callable[[bytes], Any] | None


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
        in_flight: InFlightCalls | None = None,
        spans: CallSpans | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Guards every call.

        Args:
            access: admits; None: everybody.
            observers: are told of each call at its end; must not raise or block.
            in_flight: counts calls, and refuses them when closed or full.
            spans: write down the calls; None: nobody traces them.
            clock: seconds.
        """
        self._rules = CallRules(
            access or Access({}), in_flight or InFlightCalls(), observers, spans, clock
        )

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

        def begin(context: _Context) -> ServedCall:
            return ServedCall(method, context, self._rules)

        # gRPC would read the whole message of another kind of rpc first.
        refusal = self._rules.in_flight.refusal(method)
        if refusal or (
            not handler.request_streaming and self._is_refused_early(handler_call_details)
        ):
            return grpc.stream_stream_rpc_method_handler(_refuse_with(begin, refusal))
        guard = _guard_generator if inspect.isasyncgenfunction(behaviour) else _guard_coroutine
        # Messages are parsed inside the guard: one that cannot be is the caller's error.
        parse = _parse_each if handler.request_streaming else _parse_one
        return reading_one_message(
            make(
                guard(behaviour, parse(handler.request_deserializer), begin),
                response_serializer=handler.response_serializer,
            )
        )

    def _is_refused_early(self, details: grpc.HandlerCallDetails) -> bool:
        """Whether it is known before the message is there that the call will not be admitted."""
        return self._rules.access.refuses(
            str(details.method), authorizations(details.invocation_metadata)
        )


_Begin = Callable[[_Context], ServedCall]


def _refuse_with(begin: _Begin, refusal: errors.PbserveError | None) -> _Handler:
    async def refuse(_messages: Any, context: _Context) -> None:
        # Refused for what it is: by its access first, and if nothing else for `refusal`.
        async with begin(context):
            if refusal:
                raise refusal

    return refuse


def _parse_one(deserialize: _Deserialize) -> Callable[[bytes | None], Any]:
    def parse(message: bytes | None) -> Any:
        if message is None:
            raise errors.InvalidRequest(
                "send one message: the call has none, or one larger than --max-message-mb allows"
            )
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


def _guard_coroutine(
    behaviour: Callable[..., Awaitable[Any]], parse: Callable[[Any], Any], begin: _Begin
) -> _Handler:
    async def guarded(request: Any, context: _Context) -> Any:
        async with begin(context):
            return await behaviour(parse(request), context)

    return guarded


def _guard_generator(
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
