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
_MAKE = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class CallGuard:
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
        certificates: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Guards every call.

        Args:
            access: admits; None: everybody.
            observers: are told of each call at its end; must not raise or block.
            in_flight: counts calls, and refuses them when closed or full.
            spans: write down the calls; None: nobody traces them.
            certificates: whether callers may have certificates; False: the port is plain.
            clock: seconds.
        """
        self.rules = CallRules(
            access or Access({}),
            in_flight or InFlightCalls(),
            observers,
            spans,
            clock,
            certificates,
        )

    def over(self, *handlers: grpc.GenericRpcHandler) -> grpc.GenericRpcHandler:
        """Returns the rpcs of `handlers`, guarded."""
        guarded = GuardedServices(self)
        guarded.add_generic_rpc_handlers(handlers)
        return guarded


class GuardedServices(grpc.GenericRpcHandler):
    """Where services are added to a server, as stubs' `add_..._to_server` do it: guarded.

    All are one handler of gRPC's, which asks one after the other. It is not an interceptor, since
    gRPC runs those as coroutines, for each call anew.
    """

    def __init__(self, guard: CallGuard) -> None:
        """Has no services yet."""
        self._rules = guard.rules
        self._handlers: list[grpc.GenericRpcHandler] = []
        # By method. There are as many as the handlers have.
        self._guarded: dict[str, _Handler] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """See `grpc.aio.Server`."""
        self._handlers.extend(handlers)

    def add_registered_method_handlers(self, service_name: str, handlers: Any) -> None:
        """Adds nothing: asyncio servers know generic handlers alone."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> _Handler:
        """Returns the guarded handler of a method; None for those of others."""
        method = handler_call_details.method
        handler = self._guarded.get(method)
        if handler is None:
            found = (one.service(handler_call_details) for one in self._handlers)
            plain = next(filter(None, found), None)
            if plain is None:
                return None
            handler = self._guarded[method] = self._guard(method, plain)
        # gRPC would read the whole message of another kind of rpc first.
        refusal = self._rules.in_flight.refusal(method)
        if refusal or (
            self._rules.access.has_rules and self._is_refused_early(handler_call_details)
        ):
            return grpc.stream_stream_rpc_method_handler(_refuse_with(self._begin(method), refusal))
        return handler

    def _guard(self, method: str, handler: _Handler) -> _Handler:
        behaviour = (
            handler.unary_unary
            or handler.unary_stream
            or handler.stream_unary
            or handler.stream_stream
        )
        guard = _guard_generator if inspect.isasyncgenfunction(behaviour) else _guard_coroutine
        # Messages are parsed inside the guard: one that cannot be is the caller's error.
        parse = _parse_each if handler.request_streaming else _parse_one
        return reading_one_message(
            _MAKE[handler.request_streaming, handler.response_streaming](
                guard(behaviour, parse(handler.request_deserializer), self._begin(method)),
                response_serializer=handler.response_serializer,
            )
        )

    def _begin(self, method: str) -> _Begin:
        rules = self._rules
        return lambda context: ServedCall(method, context, rules)

    def _is_refused_early(self, details: grpc.HandlerCallDetails) -> bool:
        """Whether it is known before the message is there that the call will not be admitted."""
        return self._rules.access.refuses(
            details.method, authorizations(details.invocation_metadata)
        )


_Begin = Callable[[_Context], ServedCall]


def _refuse_with(begin: _Begin, refusal: errors.PbserveError | None) -> _Handler:
    async def refuse(_messages: Any, context: _Context) -> None:
        # Refused for what it is: by its access first, and if nothing else for `refusal`.
        call = begin(context)
        try:
            call.admit()
        except errors.PbserveError as error:
            await call.fail(error)
        if refusal:
            await call.fail(refusal)
        call.succeed()

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
        call = begin(context)
        try:
            call.admit()
            response = await behaviour(parse(request), context)
        except BaseException as error:
            await call.fail(error)
            raise
        call.succeed()
        return response

    return guarded


def _guard_generator(
    behaviour: Callable[..., AsyncGenerator[Any, None]],
    parse: Callable[[Any], Any],
    begin: _Begin,
) -> _Handler:
    async def guarded(request: Any, context: _Context) -> AsyncIterator[Any]:
        call = begin(context)
        try:
            call.admit()
            # An abandoned call must run the behaviour's own clean-up now, not when collected.
            async with contextlib.aclosing(behaviour(parse(request), context)) as answers:
                async for answer in answers:
                    yield answer
        except BaseException as error:
            await call.fail(error)
            raise
        call.succeed()

    return guarded
