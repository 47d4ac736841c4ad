"""Reflection of services whose descriptors are loaded when somebody asks for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2 as pb


async def _nothing(_: str) -> None:
    """Loads nothing: everything is there."""


# The stubs describe a coroutine; it is a generator.
_Servicer: Any = reflection.aio.ReflectionServicer


class LazyReflection(_Servicer):  # type: ignore[misc]
    """Answers `grpc.reflection.v1alpha`; asks for what a symbol needs before it is looked up.

    What is not in the pool of descriptors is NOT_FOUND, and clients do not ask twice.
    """

    def __init__(
        self, service_names: Iterable[str], load: Callable[[str], Awaitable[None]] | None = None
    ) -> None:
        """Lists the services.

        Args:
            service_names: full names.
            load: returns when the descriptors of a symbol (full name) or a file (name) are in the
                pool, if there are such.
        """
        super().__init__(service_names)
        self._load = load or _nothing

    async def ServerReflectionInfo(  # noqa: N802 - the contract's name
        self, request_iterator: AsyncIterator[pb.ServerReflectionRequest], unused_context: Any
    ) -> AsyncIterator[pb.ServerReflectionResponse]:
        """Answers one request after the other."""

        async def load_each() -> AsyncIterator[pb.ServerReflectionRequest]:
            async for request in request_iterator:
                await self._load(_symbol(request))
                yield request

        async for response in super().ServerReflectionInfo(load_each(), unused_context):
            yield response


def add_reflection(
    server: Any,
    service_names: Iterable[str],
    load: Callable[[str], Awaitable[None]] | None = None,
) -> None:
    """Adds reflection to a `grpc.aio` server; see `LazyReflection`."""
    servicer = LazyReflection(service_names, load)
    add: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
    add(servicer, server)


def _symbol(request: pb.ServerReflectionRequest) -> str:
    """Returns the symbol or the file that a request is about; empty for the list of services."""
    return (
        request.file_by_filename
        or request.file_containing_symbol
        or request.file_containing_extension.containing_type
        or request.all_extension_numbers_of_type
    )
