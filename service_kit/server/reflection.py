"""Reflection of services whose descriptors are in several pools."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc


class DescriptorPools:
    """Several pools of descriptors as one; the first one that has a name counts."""

    def __init__(self, pools: Sequence[Any]) -> None:
        """Looks into the given pools, in their order."""
        self._pools = pools

    def __getattr__(self, name: str) -> Any:
        """Returns a method of pools (`FindFileByName`, ...) that asks one after the other."""

        def find(*arguments: Any) -> Any:
            for pool in self._pools[:-1]:
                try:
                    return getattr(pool, name)(*arguments)
                # What is of another pool is a KeyError, or a TypeError where a descriptor is.
                except (KeyError, TypeError):
                    continue
            return getattr(self._pools[-1], name)(*arguments)

        return find


def add_reflection(server: Any, service_names: Iterable[str], pools: Sequence[Any] = ()) -> None:
    """Adds `grpc.reflection.v1alpha` to a `grpc.aio` server.

    Args:
        server: not started yet.
        service_names: full names.
        pools: of descriptors, that are asked before Python's own.
    """
    together: Any = DescriptorPools([*pools, descriptor_pool.Default()])
    add: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
    add(reflection.aio.ReflectionServicer(service_names, together), server)
