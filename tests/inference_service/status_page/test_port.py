from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inference_service.addresses import DEFAULT_METRICS_ADDRESS
from inference_service.cli.app import app
from inference_service.settings import InferenceSettings
from inference_service.status_page import port as http_port
from inference_service.status_page.port import HttpPort
from service_kit import errors
from service_kit.address import Address, parse_address
from service_kit.server.serving_settings import Listening, Serving, TlsFiles
from tests.support.http_calls import call
from tests.support.inference_server import InferenceServer

LOOPBACK = Address("127.0.0.1", 0)


def settings(
    metrics: Address = LOOPBACK, *, status_page: bool = True, listening: Listening | None = None
) -> InferenceSettings:
    serving = Serving(listening or Listening(LOOPBACK), metrics)
    return InferenceSettings(serving=serving, store="unused", status_page=status_page)


@contextlib.contextmanager
def opened(server: InferenceServer, told: InferenceSettings) -> Iterator[HttpPort]:
    async def build() -> HttpPort:
        port = HttpPort(told, server.core, cores=3)
        await port.start()
        return port

    port = server.call(build())
    try:
        yield port
    finally:
        server.call(port.stop())


@pytest.fixture
def taken() -> Iterator[Address]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield Address("127.0.0.1", listening.getsockname()[1])


def test_the_page_is_open_and_announced(
    server: InferenceServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(server, settings()) as port:
        port.announce_pages()
        (line,) = capsys.readouterr().out.splitlines()
        program, _, url = line.partition(" status page on ")
        assert program == "pbserve"
        told = call(url, path="status.json").json()["server"]
        assert (told["cores"], told["devices"], told["ready"]) == (3, "auto", True)
    with pytest.raises(ConnectionRefusedError):
        call(url)


def test_without_the_page_nothing_is_listened_on(
    server: InferenceServer, taken: Address, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(server, settings(taken, status_page=False)) as port:
        port.announce_pages()
    assert capsys.readouterr().out == ""


def test_a_default_port_that_is_taken_costs_the_page_alone(
    server: InferenceServer,
    taken: Address,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(http_port, "DEFAULT_METRICS_ADDRESS", str(taken))
    with opened(server, settings(taken)) as port:
        port.announce_pages()
    assert capsys.readouterr().out == ""


def test_any_other_port_that_is_taken_is_an_error(server: InferenceServer, taken: Address) -> None:
    with (
        pytest.raises(errors.InvalidRequest, match=f"cannot listen on {taken}"),
        opened(server, settings(taken)),
    ):
        pass


@pytest.mark.parametrize(
    "listening",
    [
        Listening(LOOPBACK, access_file=Path("tokens.yaml")),
        Listening(LOOPBACK, tls=TlsFiles(Path("c"), Path("k"), client_ca=Path("ca"))),
    ],
)
def test_where_callers_have_to_show_who_they_are_the_page_asks_nothing(
    server: InferenceServer, listening: Listening, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(server, settings(listening=listening)) as port:
        port.announce_pages()
        url = capsys.readouterr().out.split()[-1]
        assert "<form" not in call(url).text
        assert call(url, "POST", "predict").status == 404


def test_a_server_whose_port_is_taken_ends_before_it_says_that_it_listens(
    taken: Address, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "inference_service", "serve", "--listen", "127.0.0.1:0"]
    options = ["--metrics-listen", str(taken), "--store", str(tmp_path)]
    ended = subprocess.run(
        [*command, *options], check=False, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"error: cannot listen on {taken}" in ended.stderr


@pytest.mark.parametrize(
    ("options", "environment", "address", "page"),
    [
        ([], {}, "127.0.0.1:9500", True),
        (["--metrics-listen", "127.0.0.1:7", "--no-status-page"], {}, "127.0.0.1:7", False),
        (
            [],
            {"PBSERVE_METRICS_LISTEN": "127.0.0.1:8", "PBSERVE_STATUS_PAGE": "0"},
            "127.0.0.1:8",
            False,
        ),
    ],
)
def test_options_and_environment_say_where_and_whether(
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    environment: dict[str, str],
    address: str,
    page: bool,  # noqa: FBT001
) -> None:
    told: list[InferenceSettings] = []
    monkeypatch.setattr("inference_service.composition.run", told.append)
    monkeypatch.delenv("PBSERVE_METRICS_LISTEN", raising=False)
    assert CliRunner().invoke(app, ["serve", *options], env=environment).exit_code == 0
    (settings_,) = told
    assert (str(settings_.serving.metrics_address), settings_.status_page) == (address, page)
    assert Address("127.0.0.1", 9500) == parse_address(DEFAULT_METRICS_ADDRESS)
