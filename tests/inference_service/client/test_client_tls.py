"""The clients over encrypted connections, with and without certificates and tokens of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_service.client import AsyncInferenceClient, InferenceClient, RetryPolicy, Tls
from service_kit import errors
from tests.support.engines import pixels
from tests.support.inference_server import InferenceServer
from tests.support.tls import Certificates, TokenCheck, behind_tls

ONCE = RetryPolicy(attempts=1)
NAME = "serving.example"


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates(NAME)


@pytest.fixture
def check() -> TokenCheck:
    return TokenCheck("")


@pytest.fixture
def address(
    server: InferenceServer, certificates: Certificates, check: TokenCheck
) -> Iterator[str]:
    server.publish()
    with behind_tls(server, certificates.server_credentials(mutual=False), check) as at:
        yield at


@pytest.fixture
def mutual(server: InferenceServer, certificates: Certificates, check: TokenCheck) -> Iterator[str]:
    server.publish()
    with behind_tls(server, certificates.server_credentials(mutual=True), check) as at:
        yield at


def test_an_encrypted_connection_serves_calls_and_streams(
    address: str, certificates: Certificates
) -> None:
    tls = Tls(certificates.root, server_name=NAME)
    with InferenceClient(address, tls=tls) as client:
        client.wait_until_ready("m", timeout=30)
        assert client.predict("m", pixels(7)).outputs["probs"][0, 0] == 7
        assert len(list(client.stream("m", (pixels(n) for n in range(50))))) == 50


async def test_asyncio_has_the_same(address: str, certificates: Certificates) -> None:
    tls = Tls(certificates.root, server_name=NAME)
    async with AsyncInferenceClient(address, tls=tls) as client:
        await client.wait_until_ready("m", timeout=30)
        assert (await client.predict("m", pixels(7))).outputs["probs"][0, 0] == 7
        groups = [pixels(n) for n in range(50)]
        assert len([answer async for answer in client.stream("m", groups)]) == 50


@pytest.mark.parametrize("wrong", ["name", "authority", "plain"])
def test_a_server_that_cannot_prove_itself_gets_nothing(
    address: str, certificates: Certificates, check: TokenCheck, wrong: str
) -> None:
    tls = {
        "name": Tls(certificates.root),
        "authority": Tls(Certificates(NAME).root, server_name=NAME),
        "plain": None,
    }[wrong]
    with (
        InferenceClient(address, tls=tls, token="secret", retry=ONCE) as client,  # noqa: S106
        pytest.raises(errors.ServerStopping, match="cannot reach the server"),
    ):
        client.predict("m", pixels(1), timeout=30)
    assert check.seen == []


def test_a_client_can_prove_itself_with_a_certificate(
    mutual: str, certificates: Certificates, tmp_path: Path
) -> None:
    files = {
        "root_certificates": certificates.root,
        "client_certificate": certificates.client_certificate,
        "client_key": certificates.client_key,
    }
    paths = {name: tmp_path / f"{name}.pem" for name in files}
    for name, content in files.items():
        paths[name].write_bytes(content)
    tls = Tls(paths["root_certificates"], paths["client_certificate"], paths["client_key"], NAME)
    with InferenceClient(mutual, tls=tls) as client:
        assert client.predict("m", pixels(7)).outputs["probs"][0, 0] == 7
    nobody = Tls(certificates.root, server_name=NAME)
    with (
        InferenceClient(mutual, tls=nobody, retry=ONCE) as client,
        pytest.raises(errors.ServerStopping),
    ):
        client.predict("m", pixels(1), timeout=30)


def test_a_token_goes_with_every_call(
    address: str, certificates: Certificates, check: TokenCheck
) -> None:
    check.token = "secret"  # noqa: S105
    tls = Tls(certificates.root, server_name=NAME)
    with InferenceClient(address, tls=tls, token="secret") as client:  # noqa: S106
        client.wait_until_ready("m", timeout=30)
        client.models()
        client.predict("m", pixels(1))
        assert len(list(client.stream("m", [pixels(1)]))) == 1
    assert check.seen == ["Bearer secret"] * 4
    with InferenceClient(address, tls=tls, token="guess") as client:  # noqa: S106
        for call in (client.models, client.wait_until_ready):
            with pytest.raises(errors.PbserveError, match="who are you") as caught:
                call()
            assert "guess" not in str(caught.value)
        with pytest.raises(errors.PbserveError, match="who are you"):
            list(client.stream("m", [pixels(1)]))


def test_a_token_may_change_between_calls(
    address: str, certificates: Certificates, check: TokenCheck
) -> None:
    tokens = iter(["one", "two"])
    tls = Tls(certificates.root, server_name=NAME)
    with InferenceClient(address, tls=tls, token=lambda: next(tokens)) as client:
        client.models()
        client.models()
    assert check.seen == ["Bearer one", "Bearer two"]


async def test_asyncio_sends_the_token_too(
    address: str, certificates: Certificates, check: TokenCheck
) -> None:
    async def token() -> str:
        return "secret"

    check.token = "secret"  # noqa: S105
    tls = Tls(certificates.root, server_name=NAME)
    async with AsyncInferenceClient(address, tls=tls, token=token) as client:
        await client.predict("m", pixels(1))
        assert len([answer async for answer in client.stream("m", [pixels(1)])]) == 1
    assert check.seen == ["Bearer secret"] * 2
