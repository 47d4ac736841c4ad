"""A proxy of TCP that can vanish as a machine does that loses its power."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from service_kit.address import Address


class TcpProxy:
    """Passes on what both sides send until it vanishes: then nothing, without closing anything."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self._passes = True
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.address = ""

    def vanish(self) -> None:
        self._passes = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers += [writer, behind[1]]
        for source, sink in ((reader, behind[1]), (behind[0], writer)):
            self._tasks.add(asyncio.create_task(self._pass(source, sink)))

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        # What comes later is taken, so that the sender's system believes in it, and dropped.
        while data := await source.read(65536):
            if self._passes:
                sink.write(data)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.close()


@contextlib.asynccontextmanager
async def tcp_proxy(target: Address) -> AsyncIterator[TcpProxy]:
    """Runs a proxy until the block ends."""
    proxy = TcpProxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        proxy.close()
