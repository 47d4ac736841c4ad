"""An asyncio gRPC server with health, reflection, error statuses and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Sequence
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service_kit import errors
from service_kit.address import Address
from service_kit.status_interceptor import StatusInterceptor

_log = structlog.get_logger(__name__)

OVERALL = ""
# A connection that is closed while its client still writes takes the answers with it that the
# client has not read. So much later the client knows that its stream has ended.
_LINGER_SECONDS = 0.2


class Health:
    """The answers of `grpc.health.v1`: one overall, one a name."""

    def __init__(self) -> None:
        """Begins with everything NOT_SERVING."""
        # The stubs describe the synchronous servicer; this is its asyncio twin.
        self.servicer = health.aio.HealthServicer()
        self._serving: set[str] = set()
        self._stopped = False

    def is_serving(self, name: str) -> bool:
        """Whether `name` is served; what nobody has heard of is not."""
        return name in self._serving and not self._stopped

    async def set(self, name: str, *, serving: bool) -> None:
        """Says whether `name` (a model; `OVERALL` for the server) is served."""
        if serving:
            self._serving.add(name)
        else:
            self._serving.discard(name)
        statuses = health_pb2.HealthCheckResponse
        await self.servicer.set(name, statuses.SERVING if serving else statuses.NOT_SERVING)

    async def forget(self, name: str) -> None:
        """Makes `name` unknown."""
        self._serving.discard(name)
        await self.servicer.set(name, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)

    async def stop(self) -> None:
        """Says NOT_SERVING for everything, from now on."""
        self._stopped = True
        await self.servicer.enter_graceful_shutdown()


class OpenStreams:
    """Streams whose requests may go on for ever, and how they come to an end."""

    def __init__(self) -> None:
        """Begins without streams."""
        # Once set, no open stream may be read any further.
        self.ending = asyncio.Event()
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def add(self, context: Any) -> None:
        """Counts the call of `context` until its status is sent."""
        self._count += 1
        self._none.clear()
        context.add_done_callback(self._ended)

    def _ended(self, _: Any) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    async def end(self, seconds: float) -> None:
        """Tells all streams to end, and returns when their clients know, or the time is over."""
        self.ending.set()
        if not self._count:
            return
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._none.wait(), seconds)
            await asyncio.sleep(_LINGER_SECONDS)


class Server:
    """One listening port with its services."""

    def __init__(self, *, max_message_bytes: int) -> None:
        """Makes a server that takes messages up to `max_message_bytes` in each direction."""
        self.health = Health()
        self.streams = OpenStreams()
        self.grpc = grpc.aio.server(
            interceptors=[StatusInterceptor()],
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
                # Two servers must not share a port without knowing of each other.
                ("grpc.so_reuseport", 0),
            ],
        )
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, self.grpc)

    async def start(self, address: Address, service_names: Sequence[str]) -> Address:
        """Starts to listen, with reflection of the named services; returns the real address.

        Raises:
            InvalidRequest: the address cannot be listened on.
        """
        names = (*service_names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self.grpc)
        try:
            port = self.grpc.add_insecure_port(str(address))
        except RuntimeError:
            port = 0
        if port == 0:
            raise errors.InvalidRequest(
                f"cannot listen on {address}: is the port taken, or the host not this machine's?"
            )
        await self.health.set(OVERALL, serving=False)
        await self.grpc.start()
        return Address(address.host, port)

    async def drain(self, *, lame_duck_seconds: float, grace_seconds: float) -> None:
        """Ends in order: NOT_SERVING, a pause for balancers to see it, streams, then all calls.

        Calls in flight have `grace_seconds` to finish before they are cancelled.
        """
        await self.health.stop()
        await asyncio.sleep(lame_duck_seconds)
        began = time.monotonic()
        # The other half is for the calls that came until the streams had ended.
        await self.streams.end(grace_seconds / 2)
        await self.grpc.stop(max(0.0, grace_seconds - (time.monotonic() - began)))


def stop_signal() -> asyncio.Event:
    """Returns an event that SIGTERM or SIGINT sets from now on.

    Call it before anybody can know that the program runs. A second signal ends the program
    at once.
    """
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)

    def tell(name: str) -> None:
        _log.info("stopping", signal=name)
        told.set()
        for number in signals:
            # The shell's convention for a program that a signal ended.
            loop.add_signal_handler(number, os._exit, 128 + number)

    for number in signals:
        loop.add_signal_handler(number, tell, number.name)
    return told


def announce(program: str, address: Address) -> None:
    """Prints where the program listens: one line on standard output that scripts wait for."""
    print(f"{program} listening on {address}", flush=True)
