"""HTTP/2 as a test writes it itself (RFC 9113), for what gRPC's own clients never do."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

from service_kit.address import Address

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY = 0, 1, 4, 6, 7
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Returns a frame (section 4.1)."""
    header = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return header + payload


def call_headers(path: bytes, **others: bytes) -> bytes:
    """Returns the header block of a call of gRPC, in literals of RFC 7541, section 6.2.2.

    `others` are headers beside those that every call has, with _ for -.
    """
    headers = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path,
        b":authority": b"localhost",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
        **{name.replace("_", "-").encode(): value for name, value in others.items()},
    }
    return b"".join(
        b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in headers.items()
    )


class Connection:
    """A connection whose settings have been sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._pings = 0
        writer.write(PREFACE + frame(SETTINGS, 0, 0, b""))

    def begin_call(self, path: bytes) -> None:
        """Begins a call on stream 1, and sends no message."""
        self._writer.write(frame(HEADERS, END_HEADERS, 1, call_headers(path)))

    def call(self, path: bytes, message: bytes, **headers: bytes) -> None:
        """Makes a unary call on stream 1, of which nothing is heard, and never cancels it."""
        self._writer.write(frame(HEADERS, END_HEADERS, 1, call_headers(path, **headers)))
        self._writer.write(
            frame(DATA, END_STREAM, 1, struct.pack(">?I", 0, len(message)) + message)
        )

    async def ping(self) -> bytes:
        """Sends a ping; returns nothing when it is answered, else what the server says at the end.

        That is the debug text of its GOAWAY (section 6.8).
        """
        self._pings += 1
        payload = struct.pack(">Q", self._pings)
        self._writer.write(frame(PING, 0, 0, payload))
        while True:
            header = await asyncio.wait_for(self._reader.readexactly(9), 30)
            content = await self._reader.readexactly(int.from_bytes(header[:3], "big"))
            kind, flags = header[3], header[4]
            if kind == GOAWAY:
                return content[8:]
            if kind == PING and flags & ACK and content == payload:
                return b""


@contextlib.asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Connection]:
    """Opens a connection, until the block ends."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
