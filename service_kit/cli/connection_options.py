"""The options that say which server a command asks, and how; one place for both command lines."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service_kit import errors
from service_kit.cli.option_group import Command, option_group
from service_kit.cli.option_values import checked_by
from service_kit.client.target import check_target
from service_kit.telemetry.program_traces import traced_program

if TYPE_CHECKING:
    from service_kit.client.connection import ConnectionOptions

_PANEL = "Connection"


@dataclass(frozen=True, slots=True)
class ServerChoice:
    """Which server to ask (`host:port`), and what proves it and the caller: PEM files, a token."""

    address: str
    tls: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_server_name: str = ""
    token_file: Path | None = None

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted: any option of TLS asks for it."""
        return any((self.tls, self.tls_ca, self.tls_cert, self.tls_key, self.tls_server_name))

    def client_options(self, *, retries: bool = True) -> ConnectionOptions:
        """Returns what a client is told besides the address.

        Raises:
            InvalidRequest: the token's file cannot be read.
        """
        # Of a client's imports, help and completion need none.
        from service_kit.client.retry import RetryPolicy
        from service_kit.client.tls import Tls

        options: ConnectionOptions = {}
        if self.uses_tls:
            options["tls"] = Tls(self.tls_ca, self.tls_cert, self.tls_key, self.tls_server_name)
        if self.token_file:
            options["token"] = _read_token(self.token_file)
        if not retries:
            options["retry"] = RetryPolicy(attempts=1, stream_attempts=1)
        return options


def connection_options(variables: str, address: str, server: str) -> Callable[[Command], Command]:
    """Returns a decorator for commands that have a parameter `connection: ServerChoice`.

    Args:
        variables: what the names of the environment variables begin with: `PBSERVE`.
        address: default address.
        server: what is asked, for the help.
    """

    def option(name: str, help_text: str, flag: str | None = None, **more: Any) -> Any:
        return typer.Option(
            *([flag] if flag else ()),
            envvar=f"{variables}_{name}",
            help=help_text,
            rich_help_panel=_PANEL,
            **more,
        )

    # The variables of certificate and key are not those of `serve`, which has its own of both:
    # where a server's environment is set, its clients must not show the server's certificate.
    options: dict[str, tuple[Any, Any]] = {
        "address": (
            Annotated[
                str,
                option(
                    "ADDRESS", f"{server} to ask, host:port.", callback=checked_by(check_target)
                ),
            ],
            address,
        ),
        "tls": (
            Annotated[bool, option("TLS", "Encrypt, with public authorities.", flag="--tls")],
            False,
        ),
        "tls_ca": (
            Annotated[Path | None, option("TLS_CA", "Encrypt; who signs the server, PEM.")],
            None,
        ),
        "tls_cert": (
            Annotated[Path | None, option("CLIENT_CERT", "Certificate of the caller, PEM.")],
            None,
        ),
        "tls_key": (Annotated[Path | None, option("CLIENT_KEY", "Key of that, PEM.")], None),
        "tls_server_name": (
            Annotated[
                str,
                option(
                    "TLS_SERVER_NAME",
                    "Name in the server's certificate.",
                    show_default="the address's",
                ),
            ],
            "",
        ),
        "token_file": (
            Annotated[Path | None, option("TOKEN_FILE", "File with the caller's token.")],
            None,
        ),
    }
    group = option_group("connection", options, ServerChoice)
    return lambda command: group(_trace(command, f"{variables.lower()}-cli"))


def _trace(command: Command, service: str) -> Command:
    @functools.wraps(command)
    def run(**values: Any) -> None:
        with traced_program(service):
            command(**values)

    return run


def server_choice(context: typer.Context) -> ServerChoice | None:
    """Returns what an unfinished command line says so far, and the environment.

    None: the address that they say is none.
    """
    names = [one.name for one in dataclasses.fields(ServerChoice)]
    said = {name: context.params.get(name) for name in names}
    if said["address"] is None:
        return None
    return ServerChoice(**{name: value for name, value in said.items() if value is not None})


def _read_token(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise errors.InvalidRequest(f"the token file {path} cannot be read: {reason}") from error
