"""TLS, tokens and health of a real port."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service_kit import errors
from service_kit.address import Address
from service_kit.auth.roles import Role
from service_kit.server.health import LIVE, OVERALL
from service_kit.server.listener import Listener
from service_kit.server.serving_settings import Listening, tls_files
from tests.support import http2
from tests.support.certificates import Authority
from tests.support.tokens import write_access_file

ANY_PORT = Address("127.0.0.1", 0)
SERVING = health_pb2.HealthCheckResponse.SERVING


class Echo(grpc.GenericRpcHandler):
    """Answers anything with itself."""

    async def _echo(self, request: bytes, context: Any) -> bytes:
        return request

    def service(self, handler_call_details: Any) -> Any:
        if not handler_call_details.method.startswith("/test/"):
            return None
        return grpc.unary_unary_rpc_method_handler(self._echo)


@contextlib.asynccontextmanager
async def listening(
    capsys: pytest.CaptureFixture[str], settings: Listening
) -> AsyncIterator[tuple[Listener, str]]:
    listener = Listener(settings, {"/test/read": Role.READ})
    listener.server.services.add_generic_rpc_handlers((Echo(),))
    capsys.readouterr()
    await listener.start("test", [])
    output = capsys.readouterr().out
    watching = asyncio.create_task(listener.watch(0.001))
    try:
        yield listener, output.split()[-1]
    finally:
        watching.cancel()
        await listener.server.drain(lame_duck_seconds=0, grace_seconds=5)


async def ask(channel: grpc.aio.Channel, token: str = "", method: str = "/test/read") -> bytes:
    metadata = [("authorization", f"Bearer {token}")] if token else None
    rpc: Any = channel.unary_unary(method)
    return bytes(await rpc(b"hello", metadata=metadata, timeout=20))


async def check(channel: grpc.aio.Channel, name: str) -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=20)
    return int(response.status)


async def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_a_port_with_tls_answers_who_trusts_it_and_nobody_in_the_clear(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    settings = Listening(ANY_PORT, authority.server_files())
    async with listening(capsys, settings) as (_, address):
        async with grpc.aio.secure_channel(address, authority.channel_credentials()) as channel:
            assert await ask(channel) == b"hello"
        (tmp_path / "other").mkdir()
        stranger = Authority(tmp_path / "other").channel_credentials()
        async with grpc.aio.secure_channel(address, stranger) as channel:
            assert await code_of(ask(channel)) is grpc.StatusCode.UNAVAILABLE
        async with grpc.aio.insecure_channel(address) as channel:
            assert await code_of(ask(channel)) is grpc.StatusCode.UNAVAILABLE


async def test_a_port_with_a_client_authority_asks_for_a_certificate_and_maps_it_to_roles(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    (tmp_path / "access.yaml").write_text("certificates: {reader.example: [read]}")
    files = authority.server_files(mutual=True)
    settings = Listening(ANY_PORT, files, access_file=tmp_path / "access.yaml")
    async with listening(capsys, settings) as (_, address):
        for client, code in (
            ("", grpc.StatusCode.UNAVAILABLE),
            ("other.example", grpc.StatusCode.UNAUTHENTICATED),
        ):
            credentials = authority.channel_credentials(client)
            async with grpc.aio.secure_channel(address, credentials) as channel:
                assert await code_of(ask(channel)) is code
        credentials = authority.channel_credentials("reader.example")
        async with grpc.aio.secure_channel(address, credentials) as channel:
            assert await ask(channel) == b"hello"
            code = await code_of(ask(channel, method="/test/other"))
            assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_certificates_are_rotated_under_load_without_a_failure(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    settings = Listening(ANY_PORT, authority.server_files())
    async with listening(capsys, settings) as (_, address):
        ended, answered = asyncio.Event(), 0

        async def load() -> None:
            nonlocal answered
            while not ended.is_set():
                # A connection of its own each time: a handshake, too.
                credentials = authority.channel_credentials()
                async with grpc.aio.secure_channel(address, credentials) as channel:
                    assert await ask(channel) == b"hello"
                answered += 1

        callers = [asyncio.create_task(load()) for _ in range(4)]
        for rotation in range(10):
            seen = answered
            await asyncio.to_thread(authority.server_files, f"rotation-{rotation}.example")
            while answered < seen + 8:
                await asyncio.sleep(0.001)
        ended.set()
        await asyncio.gather(*callers)
        # The last certificate is the one that new connections get.
        options = [("grpc.ssl_target_name_override", "rotation-9.example")]
        credentials = authority.channel_credentials()
        async with grpc.aio.secure_channel(address, credentials, options) as channel:
            assert await ask(channel) == b"hello"


async def test_files_that_do_not_fit_together_change_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    files = authority.server_files()
    async with listening(capsys, Listening(ANY_PORT, files)) as (_, address):
        good = files.key.read_bytes()
        for content in (b"", b"no key", Authority(tmp_path).roots):
            files.key.write_bytes(content)
            files.certificate.touch()
            credentials = grpc.ssl_channel_credentials(authority.roots)
            async with grpc.aio.secure_channel(address, credentials) as channel:
                assert await ask(channel) == b"hello"
        files.key.unlink()
        credentials = grpc.ssl_channel_credentials(authority.roots)
        async with grpc.aio.secure_channel(address, credentials) as channel:
            assert await ask(channel) == b"hello"
        files.key.write_bytes(good)


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_bad_files_are_refused_at_the_start(tmp_path: Path, content: bytes) -> None:
    files = Authority(tmp_path).server_files()
    files.key.write_bytes(content)
    with pytest.raises(errors.InvalidRequest, match="not usable together"):
        Listener(Listening(ANY_PORT, files), {})
    files.key.unlink()
    with pytest.raises(errors.InvalidRequest, match="cannot read the TLS files"):
        Listener(Listening(ANY_PORT, files), {})


async def test_the_access_file_is_read_again_and_a_bad_one_changes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "access.yaml"
    write_access_file(path, one="read")
    settings = Listening(ANY_PORT, access_file=path)
    async with listening(capsys, settings) as (_, address):  # noqa: SIM117 - one knows the other
        async with grpc.aio.insecure_channel(address) as channel:
            assert await code_of(ask(channel)) is grpc.StatusCode.UNAUTHENTICATED
            assert await ask(channel, "secret-one") == b"hello"
            path.write_text("tokens: nonsense")
            for _ in range(20):
                assert await ask(channel, "secret-one") == b"hello"
            write_access_file(path, two="read")
            while await may_ask(channel, "secret-one"):
                await asyncio.sleep(0.001)
            assert await ask(channel, "secret-two") == b"hello"


async def may_ask(channel: grpc.aio.Channel, token: str) -> bool:
    try:
        await ask(channel, token)
    except grpc.aio.AioRpcError as error:
        return error.code() is not grpc.StatusCode.UNAUTHENTICATED
    return True


async def test_health_and_reflection_are_open_and_reflection_can_be_closed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_access_file(tmp_path / "access.yaml", one="read")

    async def reflect(channel: grpc.aio.Channel) -> int:
        # Typed for synchronous channels alone.
        make: Any = reflection_pb2_grpc.ServerReflectionStub
        stub = make(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="*")
        answers = [one async for one in stub.ServerReflectionInfo(iter([request]), timeout=20)]
        return len(answers[0].list_services_response.service)

    for reflects in (True, False):
        settings = Listening(ANY_PORT, access_file=tmp_path / "access.yaml", reflects=reflects)
        async with listening(capsys, settings) as (listener, address):  # noqa: SIM117 - see above
            async with grpc.aio.insecure_channel(address) as channel:
                await listener.server.health.set(OVERALL, serving=True)
                assert await check(channel, OVERALL) == SERVING
                if reflects:
                    assert await reflect(channel) >= 2
                else:
                    code = await code_of(reflect(channel))
                    assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_plain_port_for_probes_answers_health_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = Listening(
        ANY_PORT,
        Authority(tmp_path).server_files(mutual=True),
        health_address=ANY_PORT,
    )
    async with listening(capsys, settings) as (listener, _):  # noqa: SIM117 - see above
        async with grpc.aio.insecure_channel(str(listener.health_address)) as channel:
            assert await check(channel, LIVE) == SERVING
            assert await check(channel, OVERALL) != SERVING
            await listener.server.health.set(OVERALL, serving=True)
            assert await check(channel, OVERALL) == SERVING
            assert await code_of(ask(channel)) is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "inference.example"])  # noqa: S104
def test_a_plain_port_beyond_loopback_has_to_be_asked_for(tmp_path: Path, host: str) -> None:
    address = Address(host, 8500)
    with pytest.raises(errors.InvalidRequest, match="say --insecure"):
        Listening(address)
    Listening(address, insecure=True)
    Listening(address, Authority(tmp_path).server_files())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_a_plain_port_on_loopback_is_fine(host: str) -> None:
    Listening(Address(host, 8500))


def test_tls_files_come_together() -> None:
    one = Path("file.pem")
    assert tls_files(None, None, None) is None
    found = tls_files(one, one, one)
    assert found
    assert found.paths == (one, one, one)
    for files in ((one, None, None), (None, one, None), (None, None, one), (one, None, one)):
        with pytest.raises(errors.InvalidRequest, match="go together"):
            tls_files(*files)


async def test_open_streams_on_one_connection_are_bounded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    listener = Listener(Listening(ANY_PORT, max_connection_streams=3), {})
    streams = listener.server.streams

    class Streaming(Echo):
        async def _answer(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
            streams.add(context)
            async for request in requests:
                yield request

        def service(self, handler_call_details: Any) -> Any:
            return grpc.stream_stream_rpc_method_handler(self._answer)

    listener.server.services.add_generic_rpc_handlers((Streaming(),))
    capsys.readouterr()
    await listener.start("test", [])
    address = capsys.readouterr().out.split()[-1]

    async def opened(channel: grpc.aio.Channel) -> Any:
        rpc: Any = channel.stream_stream("/test/stream")
        call = rpc()
        await call.write(b"hello")
        assert await call.read() == b"hello"
        return call

    async with (
        grpc.aio.insecure_channel(address) as channel,
        # Else both would share a connection.
        grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as other,
    ):
        calls = [await opened(channel) for _ in range(3)]
        with pytest.raises(grpc.aio.AioRpcError, match="has 3 open streams") as caught:
            await opened(channel)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await opened(other)
        await calls[0].done_writing()
        assert await calls[0].code() is grpc.StatusCode.OK
        # The client may know of the end before the server's own account of it.
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await opened(channel)
                break
    await listener.server.drain(lame_duck_seconds=0, grace_seconds=5)


async def test_a_connection_that_is_old_is_closed_and_no_call_is_lost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    peers: set[str] = set()

    class Noting(Echo):
        async def _echo(self, request: bytes, context: Any) -> bytes:
            peers.add(context.peer())
            return request

    listener = Listener(Listening(ANY_PORT, connection_seconds=0.2), {})
    listener.server.services.add_generic_rpc_handlers((Noting(),))
    capsys.readouterr()
    await listener.start("test", [])
    address = capsys.readouterr().out.split()[-1]
    async with grpc.aio.insecure_channel(address) as channel:
        while len(peers) < 3:
            assert await ask(channel) == b"hello"
    await listener.server.drain(lame_duck_seconds=0, grace_seconds=5)


async def test_a_path_that_is_no_text_costs_its_own_call_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = Listening(ANY_PORT, health_address=ANY_PORT)
    async with listening(capsys, settings) as (listener, address):
        probed = str(listener.health_address)
        for target in (address, probed):
            host, _, port = target.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0, b""))
            block = http2.call_headers(b"/\xff")
            writer.write(http2.frame(http2.HEADERS, http2.END_HEADERS, 1, block))
            # An empty message.
            writer.write(http2.frame(http2.DATA, http2.END_STREAM, 1, bytes(5)))
            await writer.drain()
            # Whatever it answers: it has read the call when it does.
            while b"\x01" not in (frame := await asyncio.wait_for(reader.read(65536), 20)):
                assert frame
            writer.close()
        async with grpc.aio.insecure_channel(address) as channel:
            assert await ask(channel) == b"hello"
        async with grpc.aio.insecure_channel(probed) as channel:
            assert await check(channel, LIVE) == SERVING


async def test_who_has_no_token_is_refused_before_the_message_is_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_access_file(tmp_path / "access.yaml", one="read")
    settings = Listening(ANY_PORT, access_file=tmp_path / "access.yaml")
    async with listening(capsys, settings) as (_, address):  # noqa: SIM117 - see above
        async with grpc.aio.insecure_channel(address) as channel:
            rpc: Any = channel.stream_unary("/test/read")
            call = rpc()
            # Nothing has been sent, and nothing is waited for.
            assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
            assert await ask(channel, "secret-one") == b"hello"
