from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from service_kit import errors
from service_kit.address import Address
from service_kit.http.http_server import HttpServer, announce_http

LOOPBACK = Address("127.0.0.1", 0)


class Words:
    """Pages that say something, fail, or wait; and something that runs beside them."""

    def __init__(self) -> None:
        self.running = False
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    def add_to(self, application: web.Application) -> None:
        application.router.add_get("/words", self.words)
        application.router.add_get("/defect", self.defect)
        application.router.add_get("/refused", self.refused)
        application.router.add_get("/slow", self.slow)
        application.cleanup_ctx.append(self.beside)

    async def words(self, _: web.Request) -> web.Response:
        return web.Response(text="words")

    async def defect(self, _: web.Request) -> web.Response:
        raise KeyError("secret")

    async def refused(self, _: web.Request) -> web.Response:
        raise errors.ModelNotFound("there is no model x")

    async def slow(self, _: web.Request) -> web.Response:
        self.reached.set()
        await self.go.wait()
        return web.Response(text="at last")

    async def beside(self, _: web.Application) -> AsyncIterator[None]:
        self.running = True
        yield
        self.running = False


async def get(address: Address, path: str, **headers: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}{path}", headers=headers) as response,
    ):
        return response.status, await response.text()


async def test_pages_are_answered_until_the_end_and_what_runs_beside_them_ends() -> None:
    words = Words()
    server = HttpServer([words])
    address = await server.start(LOOPBACK)
    assert address.port > 0
    assert await get(address, "/words") == (200, "words")
    assert words.running
    await server.stop()
    assert not words.running
    with pytest.raises(aiohttp.ClientConnectorError):
        await get(address, "/words")


async def test_an_answer_in_flight_is_finished_at_the_end() -> None:
    words = Words()
    server = HttpServer([words])
    address = await server.start(LOOPBACK)
    asking = asyncio.create_task(get(address, "/slow"))
    await words.reached.wait()
    stopping = asyncio.create_task(server.stop())
    asyncio.get_running_loop().call_soon(words.go.set)
    assert await asking == (200, "at last")
    await stopping


async def test_a_port_that_is_taken_is_an_error_with_the_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = Words()
        with pytest.raises(errors.InvalidRequest, match=f"cannot listen on 127.0.0.1:{port}"):
            await HttpServer([words]).start(Address("127.0.0.1", port))
        assert not words.running


@pytest.mark.parametrize("host", ["192.0.2.1", "a" * 70 + ".example"])
async def test_a_host_that_is_not_this_machine_is_an_error(host: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="cannot listen on"):
        await HttpServer([]).start(Address(host, 0))


async def test_a_defect_costs_one_answer_and_tells_nothing_but_an_incident() -> None:
    server = HttpServer([Words()])
    address = await server.start(LOOPBACK)
    status, text = await get(address, "/defect")
    assert (status, "internal error, incident" in text, "secret" in text) == (500, True, False)
    assert await get(address, "/refused") == (404, "there is no model x\n")
    assert await get(address, "/nothing") == (404, "Not Found\n")
    assert await get(address, "/words") == (200, "words")
    await server.stop()


async def test_other_names_are_refused_on_loopback_and_not_beyond() -> None:
    for host, status in (("127.0.0.1", 421), ("localhost", 421), ("0.0.0.0", 200)):  # noqa: S104
        server = HttpServer([Words()])
        address = await server.start(Address(host, 0))
        here = Address("127.0.0.1", address.port)
        assert (await get(here, "/words", Host="status.example"))[0] == status
        assert await get(here, "/words") == (200, "words")
        await server.stop()


async def test_what_is_no_http_costs_its_connection_alone() -> None:
    server = HttpServer([Words()])
    address = await server.start(LOOPBACK)
    for sent in (b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET\r\n\r\n"):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(sent)
        writer.write_eof()
        assert b" 200 " not in await reader.read()
        writer.close()
        await writer.wait_closed()
    assert await get(address, "/words") == (200, "words")
    await server.stop()


async def test_every_response_keeps_other_sites_out() -> None:
    server = HttpServer([Words()])
    address = await server.start(LOOPBACK)
    async with aiohttp.ClientSession() as session:
        for path in ("/words", "/nothing", "/defect"):
            async with session.get(f"http://{address}{path}") as response:
                headers = response.headers
                assert "default-src 'self'" in headers["Content-Security-Policy"]
                assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
                assert headers["X-Content-Type-Options"] == "nosniff"
                assert headers["Cache-Control"] == "no-store"
                assert "aiohttp" not in headers["Server"]
    await server.stop()


def test_announces_one_line_with_a_link(capsys: pytest.CaptureFixture[str]) -> None:
    announce_http("pbserve", "status page", Address("::1", 9500))
    assert capsys.readouterr().out == "pbserve status page on http://[::1]:9500/\n"
