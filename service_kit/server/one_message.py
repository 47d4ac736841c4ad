"""Calls that should bring one message, and bring none."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator
from typing import Any

import grpc

# Of grpc itself, whose types have no names.
_Handler = Any
_Context = Any


def reading_one_message(handler: _Handler) -> _Handler:
    """Returns the handler of a rpc with one request, which is called without one, too.

    gRPC's asyncio server forgets a call that ends before its message is there: its caller would
    wait until the deadline, or for ever. What reads a stream of messages hears of its end.

    Args:
        handler: takes the message as bytes; None: the call brought none that could be read.
    """
    if handler.request_streaming:
        return handler
    behaviour = handler.unary_stream if handler.response_streaming else handler.unary_unary
    make = (
        grpc.stream_stream_rpc_method_handler
        if handler.response_streaming
        else grpc.stream_unary_rpc_method_handler
    )

    async def answer_by_yielding(messages: AsyncIterator[bytes], context: _Context) -> Any:
        message = await anext(messages, None)
        async with contextlib.aclosing(behaviour(message, context)) as answers:
            async for answer in answers:
                yield answer

    async def answer(messages: AsyncIterator[bytes], context: _Context) -> Any:
        # One response, or several that it writes by itself.
        return await behaviour(await anext(messages, None), context)

    chosen: Any = answer_by_yielding if inspect.isasyncgenfunction(behaviour) else answer
    return make(chosen, response_serializer=handler.response_serializer)
