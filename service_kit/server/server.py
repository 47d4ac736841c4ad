"""An asyncio gRPC server with health, reflection, error statuses and an orderly end."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service_kit.address import Address, cannot_listen, check_free
from service_kit.auth.access import Access
from service_kit.server.call_guard import CallGuard, GuardedServices
from service_kit.server.call_spans import CallSpans
from service_kit.server.credentials import TlsCredentials
from service_kit.server.health import LIVE, OVERALL, Health
from service_kit.server.in_flight import InFlightCalls
from service_kit.server.keepalive import DEFAULT_KEEPALIVE, Keepalive
from service_kit.server.open_streams import OpenStreams
from service_kit.server.process_end import end_when_lost
from service_kit.server.reflection import add_reflection
from service_kit.server.served_call import FinishedCall
from service_kit.server.server_arguments import keepalive_arguments, server_arguments

# At the very end there are calls that came last, and are being refused, and those that watch
# health, which never end by themselves.
_LAST_CALLS_SECONDS = 0.5


class Server:
    """One listening port with its services."""

    def __init__(
        self,
        *,
        max_message_bytes: int,
        max_connection_streams: int | None = None,
        connection_seconds: float | None = None,
        max_calls: int | None = None,
        keepalive: Keepalive = DEFAULT_KEEPALIVE,
        access: Access | None = None,
        observers: Sequence[Callable[[FinishedCall], None]] = (),
        spans: CallSpans | None = None,
        certificates: bool = True,
    ) -> None:
        """Makes a server that does not listen yet.

        Args:
            max_message_bytes: of one message, in each direction.
            max_connection_streams: open streams of requests on one connection; None: any number.
            connection_seconds: after which a connection is closed, calls finished and streams
                ended first, so that clients look for servers again; None: never.
            max_calls: in flight, a stream being one; None: any number.
            keepalive: pings in both directions.
            access: who may call what; None: everybody everything.
            observers: are told of each call at its end.
            spans: write down the calls; None: nobody traces them.
            certificates: whether callers may have certificates; False: the port is plain.
        """
        self.health = Health()
        self.streams = OpenStreams(max_connection_streams, connection_seconds)
        self._keepalive = keepalive_arguments(keepalive)
        self._in_flight = InFlightCalls(max_calls)
        guard = CallGuard(
            access,
            observers,
            in_flight=self._in_flight,
            spans=spans,
            certificates=certificates,
        )
        options = server_arguments(max_message_bytes, connection_seconds) + self._keepalive
        self.grpc = grpc.aio.server(options=options)
        self.services = GuardedServices(guard)
        self.grpc.add_generic_rpc_handlers([self.services])
        add_health: Any = health_pb2_grpc.add_HealthServicer_to_server
        add_health(self.health.servicer, self.services)
        self._probed: grpc.aio.Server | None = None
        self._is_ending = False
        self._watching: list[asyncio.Task[None]] = []
        # Of services whose descriptors are not in Python's own pool.
        self.descriptor_pools: Sequence[Any] = ()

    async def start(
        self,
        address: Address,
        service_names: Sequence[str],
        *,
        tls: TlsCredentials | None = None,
        reflects: bool = True,
    ) -> Address:
        """Starts to listen; returns the real address.

        Args:
            address: port 0 is any.
            service_names: full names, for reflection.
            tls: None: the port is plain.
            reflects: whether clients may ask for the contract.

        Raises:
            InvalidRequest: the address cannot be listened on.
        """
        if reflects:
            names = (*service_names, health.SERVICE_NAME, reflection.SERVICE_NAME)
            add_reflection(self.services, names, self.descriptor_pools)
        port = _open_port(self.grpc, address, tls)
        await self.health.set(OVERALL, serving=False)
        await self.health.set(LIVE, serving=True)
        await self.grpc.start()
        self._watch(self.grpc)
        return Address(address.host, port)

    def _watch(self, server: grpc.aio.Server) -> None:
        self._watching.append(asyncio.create_task(end_when_lost(server, lambda: self._is_ending)))

    async def start_probed(self, address: Address) -> Address:
        """Answers `grpc.health.v1`, and nothing else, on a plain port; returns the real address.

        For probes that speak no TLS, as the kubelet's.

        Raises:
            InvalidRequest: the address cannot be listened on.
        """
        self._probed = grpc.aio.server(options=[("grpc.so_reuseport", 0), *self._keepalive])
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, self._probed)
        port = _open_port(self._probed, address, None)
        await self._probed.start()
        self._watch(self._probed)
        return Address(address.host, port)

    async def drain(self, *, lame_duck_seconds: float, grace_seconds: float) -> None:
        """Ends in order: NOT_SERVING, a pause for balancers to see it, streams, then all calls.

        Calls in flight have `grace_seconds` to finish before they are cancelled.
        """
        self._is_ending = True
        await self.health.stop()
        await asyncio.sleep(lame_duck_seconds)
        began = time.monotonic()

        def left() -> float:
            return max(0.0, grace_seconds - (time.monotonic() - began))

        # The other half is for the calls that came until the streams had ended.
        await self.streams.end(grace_seconds / 2)
        await self._in_flight.close(left())
        await self.grpc.stop(min(_LAST_CALLS_SECONDS, left()))
        if self._probed:
            # Last: a probe that cannot connect would have the process killed.
            await self._probed.stop(None)


def _open_port(server: Any, address: Address, tls: TlsCredentials | None) -> int:
    """Returns the port that was opened."""
    check_free(address)
    try:
        if tls:
            port = server.add_secure_port(str(address), tls.for_server())
        else:
            port = server.add_insecure_port(str(address))
    except RuntimeError:
        port = 0
    if port == 0:
        # Somebody was faster, or it is what only gRPC minds.
        raise cannot_listen(address, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))
    return int(port)


def announce(program: str, address: Address) -> None:
    """Prints where the program listens: one line on standard output that scripts wait for."""
    print(f"{program} listening on {address}", flush=True)
