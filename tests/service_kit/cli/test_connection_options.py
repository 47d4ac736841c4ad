from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from inference_service.cli.app import app
from service_kit import errors
from service_kit.auth.roles import Role
from service_kit.cli.command_group import command_line
from service_kit.cli.connection_options import ServerChoice, connection_options
from service_kit.cli.exit_codes import ExitCode
from service_kit.client.tls import Tls
from service_kit.store.artifact_store import ArtifactStore
from tests.support.certificates import Authority
from tests.support.inference_server import inference_server
from tests.support.services import Service, running
from tests.support.tokens import TOKENS, one_token_a_role


def chosen(*arguments: str, **environment: str) -> ServerChoice:
    """Returns what a command gets to know."""
    got: list[ServerChoice] = []

    def ask(*, connection: ServerChoice) -> None:
        """Asks."""
        got.append(connection)

    tool = command_line("Asks.")
    tool.command()(connection_options("TOOL", "127.0.0.1:1", "Service")(ask))
    tool.command()(lambda: None)
    done = CliRunner().invoke(tool, ("ask", *arguments), env=environment)
    assert done.exit_code == 0, done.stderr
    return got[0]


def test_every_option_can_come_from_the_environment() -> None:
    by_option = chosen(
        *("--address", "a:1", "--tls", "--tls-ca", "ca", "--tls-cert", "cert", "--tls-key", "key"),
        *("--tls-server-name", "name", "--token-file", "token"),
    )
    by_environment = chosen(
        TOOL_ADDRESS="a:1",
        TOOL_TLS="1",
        TOOL_TLS_CA="ca",
        TOOL_CLIENT_CERT="cert",
        TOOL_CLIENT_KEY="key",
        TOOL_TLS_SERVER_NAME="name",
        TOOL_TOKEN_FILE="token",  # noqa: S106 - a path
    )
    assert by_option == by_environment
    assert None not in dataclasses.astuple(by_option)
    assert chosen() == ServerChoice("127.0.0.1:1")


def test_any_certificate_asks_for_tls() -> None:
    assert ServerChoice("a:1").client_options() == {}
    assert ServerChoice("a:1", tls=True).client_options() == {"tls": Tls()}
    assert ServerChoice("a:1", tls_ca=Path("ca")).client_options() == {"tls": Tls(Path("ca"))}
    named = ServerChoice("a:1", tls_server_name="b").client_options()
    assert named == {"tls": Tls(server_name="b")}
    retry = ServerChoice("a:1").client_options(retries=False)["retry"]
    assert (retry.attempts, retry.stream_attempts) == (1, 1)


def test_the_environment_of_a_server_does_not_make_its_clients_show_its_certificate() -> None:
    assert not chosen(TOOL_TLS_CERT="server.pem", TOOL_TLS_KEY="server.key").client_options()


def test_a_token_that_cannot_be_read_is_an_error_that_does_not_show_it(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(errors.InvalidRequest, match="binary cannot be read: it is no text"):
        ServerChoice("a:1", token_file=tmp_path / "binary").client_options()
    with pytest.raises(errors.InvalidRequest, match="none cannot be read: No such file"):
        ServerChoice("a:1", token_file=tmp_path / "none").client_options()
    (tmp_path / "token").write_text("secret\n")
    options = ServerChoice("a:1", token_file=tmp_path / "token").client_options()
    assert options == {"token": "secret"}


def test_a_command_line_shows_its_token(store: ArtifactStore, tmp_path: Path) -> None:
    token = tmp_path / "token"
    with inference_server(store, tmp_path, access=one_token_a_role()) as server:

        def models(*options: str) -> Any:
            command = ("models", "--json", "--address", server.address, *options)
            return CliRunner().invoke(app, command)

        refused = models()
        assert (refused.exit_code, refused.stderr.count("\n")) == (ExitCode.FAILED, 1)
        assert "asks for a token" in refused.stderr
        token.write_text(TOKENS[Role.READ] + "\n")
        assert models("--token-file", str(token)).exit_code == 0
        token.write_text(TOKENS[Role.PREDICT])
        missing = models("--token-file", str(token))
        assert missing.exit_code == ExitCode.FAILED
        assert "asks for the role read" in missing.stderr


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[tuple[Service, Authority]]:
    authority = Authority(tmp_path)
    files = authority.server_files(mutual=True)
    options = (
        *("--store", str(tmp_path / "models"), "--metrics-listen", "127.0.0.1:0"),
        *("--tls-cert", str(files.certificate), "--tls-key", str(files.key)),
        *("--tls-client-ca", str(files.client_ca)),
    )
    with running("inference_service", *options, log=tmp_path / "log") as service:
        yield service, authority


def test_a_command_line_speaks_tls_and_shows_its_certificate(
    encrypted: tuple[Service, Authority], tmp_path: Path
) -> None:
    service, authority = encrypted
    ca = ("--tls-ca", str(authority.roots_path))
    # The authority's own certificate for this machine serves as the client's.
    shown = ("--tls-cert", str(tmp_path / "server.pem"), "--tls-key", str(tmp_path / "server.key"))

    def models(*options: str) -> Any:
        return CliRunner().invoke(app, ("models", "--json", "--address", service.address, *options))

    done = models(*ca, *shown)
    assert (done.exit_code, done.stdout) == (0, "[]\n")
    for wrong in ((), ca, ("--tls", *shown)):
        refused = models(*wrong)
        assert refused.exit_code == ExitCode.UNAVAILABLE
        assert refused.stderr.count("\n") == 1
    half = models(*ca, *shown[:2])
    assert half.exit_code == ExitCode.FAILED
    assert "go together" in half.stderr
