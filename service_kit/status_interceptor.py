"""Turns raised errors into gRPC statuses, for every kind of rpc of an asyncio server."""

from __future__ import annotations

import contextlib
import inspect
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from service_kit import errors, status

_log = structlog.get_logger(__name__)

# Handlers of other services (health, reflection) pass through here too, and their types are
# those of grpc itself.
_Handler = Any
_Context = Any
_Deserialize = Callable[[bytes], Any] | None
# Of an error's words in the log; a caller may have sent a megabyte of them.
_LOGGED_CHARACTERS = 2000


class StatusInterceptor(grpc.aio.ServerInterceptor):
    """Answers a raised `PbserveError` with its status from the table, anything else INTERNAL.

    What is not a `PbserveError` is a defect: its trace goes to the log under an incident id,
    and the caller gets the id alone.
    """

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
        guard = _guarded_generator if inspect.isasyncgenfunction(behaviour) else _guarded_coroutine
        # Messages are parsed inside the guard: one that cannot be is the caller's error.
        parse = _parse_each if handler.request_streaming else _parse_one
        return make(
            guard(behaviour, parse(handler.request_deserializer), method),
            response_serializer=handler.response_serializer,
        )


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


def _guarded_coroutine(
    behaviour: Callable[..., Awaitable[Any]], parse: Callable[[Any], Any], method: str
) -> _Handler:
    async def guarded(request: Any, context: _Context) -> Any:
        try:
            return await behaviour(parse(request), context)
        except Exception as error:
            await _abort(context, error, method)

    return guarded


def _guarded_generator(
    behaviour: Callable[..., AsyncGenerator[Any, None]], parse: Callable[[Any], Any], method: str
) -> _Handler:
    async def guarded(request: Any, context: _Context) -> AsyncIterator[Any]:
        try:
            # An abandoned call must run the behaviour's own clean-up now, not when collected.
            async with contextlib.aclosing(behaviour(parse(request), context)) as answers:
                async for answer in answers:
                    yield answer
        except Exception as error:
            await _abort(context, error, method)

    return guarded


async def _abort(context: _Context, error: Exception, method: str) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    described = described_error(error, method)
    await context.abort_with_status(rpc_status.to_status(status.to_proto(described)))
    raise AssertionError("abort_with_status returned")  # pragma: no cover


def described_error(error: Exception, method: str) -> errors.PbserveError:
    """Returns what a caller may know of `error`, and logs what only the operator may.

    Expected errors come back as they are; a defect comes back as an `InternalError` that
    carries nothing but its incident id.
    """
    if isinstance(error, errors.PbserveError):
        _log.info(
            "request_failed",
            method=method,
            reason=error.reason,
            message=error.message[:_LOGGED_CHARACTERS],
        )
        return error
    incident = uuid.uuid4().hex[:12]
    _log.error("incident", incident=incident, method=method, exc_info=error)
    return errors.InternalError(
        f"internal error, incident {incident}: the server's log has the details"
    )
