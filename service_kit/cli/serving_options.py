"""The options of both `serve` commands that say how the service listens and ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from service_kit.address import parse_address
from service_kit.cli.console import LogFormatOption, one_line_errors
from service_kit.cli.option_group import Command, option_group
from service_kit.cli.option_values import checked_by
from service_kit.server.keepalive import DEFAULT_KEEPALIVE, Keepalive
from service_kit.server.serving_settings import Listening, Serving, tls_files

_MEBIBYTE = 2**20
# Panels of the help of both `serve`.
SERVING_TOPICS = {
    "Addresses": ("listen", "health_listen", "metrics_listen"),
    "Who may call": (
        *("tls_cert", "tls_key", "tls_client_ca", "insecure", "access_file", "reflection"),
    ),
    "Calls and connections": (
        *("max_message_mb", "max_calls", "connection_streams", "max_connection_age"),
        *("keepalive_time", "keepalive_timeout", "min_ping_interval"),
    ),
    "End and logs": ("lame_duck", "grace", "log_format", "access_log_every"),
}


def serving_options(
    variables: str, address: str, metrics_address: str, max_message_mb: int
) -> Callable[[Command], Command]:
    """Returns a decorator for commands that have a parameter `serving: Serving`.

    Args:
        variables: what the names of the environment variables begin with: `PBSERVE`.
        address: default address.
        metrics_address: default address of metrics.
        max_message_mb: default limit of one message, in MiB.
    """
    path: Any = Path | None
    is_address = checked_by(parse_address)

    def option(name: str, kind: Any, default: Any, text: str, **more: Any) -> tuple[str, Any]:
        declared = more.pop("declared", ())
        variable = f"{variables}_{name.upper()}"
        read = typer.Option(*declared, envvar=variable, help=text, **more)
        return name, (Annotated[kind, read], default)

    options = [
        option("listen", str, address, "Address to listen on; port 0: any.", callback=is_address),
        option("tls_cert", path, None, "Certificate chain, PEM; read again when it changes."),
        option("tls_key", path, None, "Key of the certificate, PEM."),
        option(
            "tls_client_ca", path, None, "Who signs clients, PEM: each has to show a certificate."
        ),
        option(
            "insecure",
            bool,
            False,
            "Let other machines reach a plain port.",
            declared=["--insecure"],
        ),
        option(
            "access_file",
            path,
            None,
            "YAML file with tokens, names in certificates, and their roles; read again when it "
            "changes. Without one everybody may do everything.",
        ),
        option(
            "health_listen",
            str,
            "",
            "A second, plain port that answers health alone, for probes without TLS.",
            show_default="none",
            callback=is_address,
        ),
        option(
            "metrics_listen",
            str,
            metrics_address,
            "Address of metrics over HTTP.",
            callback=is_address,
        ),
        option(
            "reflection",
            bool,
            True,
            "Let clients ask for the contract.",
            declared=["--reflection/--no-reflection"],
        ),
        option("max_message_mb", int, max_message_mb, "MiB in one message.", min=1, max=2047),
        option(
            "max_calls",
            int,
            8192,
            "Calls in flight; a stream is one. Others are told to come later.",
            min=1,
        ),
        option("connection_streams", int, 1024, "Open streams on one connection.", min=1),
        option(
            "max_connection_age",
            float,
            0.0,
            "Seconds after which clients have to connect anew, so that new servers get load; open "
            "streams end then, or up to a tenth later. 0: never.",
            min=0,
        ),
        option(
            "keepalive_time",
            float,
            DEFAULT_KEEPALIVE.seconds,
            "Seconds without a sign of a client after which it is pinged; 0: never.",
            min=0,
        ),
        option(
            "keepalive_timeout",
            float,
            DEFAULT_KEEPALIVE.timeout_seconds,
            "Seconds to answer that ping; then its connection is closed, and its calls end.",
            min=0.001,
        ),
        option(
            "min_ping_interval",
            float,
            DEFAULT_KEEPALIVE.least_ping_seconds,
            "Seconds between two pings of a client; more often, and it is cut off. 0: any.",
            min=0,
        ),
        option("lame_duck", float, 0.0, "Seconds from NOT_SERVING to no new calls.", min=0),
        option("grace", float, 10.0, "Seconds for calls in flight at the end.", min=0),
        option("log_format", LogFormatOption, LogFormatOption.CONSOLE, "Logs on standard error."),
        option(
            "access_log_every",
            int,
            100,
            "Log one of so many calls that went well, and all that failed; 0: only those.",
            min=0,
        ),
    ]
    return option_group("serving", dict(options), _serving)


def _serving(
    *,
    listen: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    insecure: bool,
    access_file: Path | None,
    health_listen: str,
    metrics_listen: str,
    reflection: bool,
    max_message_mb: int,
    max_calls: int,
    connection_streams: int,
    max_connection_age: float,
    keepalive_time: float,
    keepalive_timeout: float,
    min_ping_interval: float,
    lame_duck: float,
    grace: float,
    log_format: LogFormatOption,
    access_log_every: int,
) -> Serving:
    with one_line_errors():
        listening = Listening(
            address=parse_address(listen),
            tls=tls_files(tls_cert, tls_key, tls_client_ca),
            insecure=insecure,
            access_file=access_file,
            health_address=parse_address(health_listen) if health_listen else None,
            reflects=reflection,
            max_message_bytes=max_message_mb * _MEBIBYTE,
            max_calls=max_calls,
            max_connection_streams=connection_streams,
            connection_seconds=max_connection_age or None,
            keepalive=Keepalive(keepalive_time, keepalive_timeout, min_ping_interval),
        )
        metrics = parse_address(metrics_listen)
        return Serving(listening, metrics, lame_duck, grace, log_format.value, access_log_every)
