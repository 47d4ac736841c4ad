"""`pbserve models` and `show`: what a server has, once or again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from inference_service.cli.connecting import open_client
from inference_service.cli.options import ANSWER_SECONDS, Json, Model, connected
from service_kit import errors
from service_kit.cli.connection_options import ServerChoice
from service_kit.cli.console import (
    error_text,
    notices,
    one_line_errors,
    print_json,
    print_line,
    results,
)
from service_kit.terminal_text import printable

if TYPE_CHECKING:
    from inference_service.cli.server_look import Look
    from inference_service.client import InferenceClient


@connected
def models(
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
    as_json: Json = False,
    *,
    connection: ServerChoice,
) -> None:
    """List models: versions, states, labels, cards, batch limits and speeds.

    With --watch, img/s is what is answered now; without, what warming measured of one card that
    had the machine to itself.
    """
    with one_line_errors(), open_client(connection) as client:
        if watch:
            _watch(client, interval, as_json=as_json)
        else:
            _show_models(client, as_json=as_json)


@connected
def show(model: Model, as_json: Json = False, *, connection: ServerChoice) -> None:
    """Show one model: its cards, where they run, how fast, and what it takes and gives."""
    from inference_service.cli import tables

    with one_line_errors(), open_client(connection) as client:
        found = client.model(model, timeout=ANSWER_SECONDS)
        if as_json:
            print_json(found)
        else:
            results.print(tables.cards_table(found))
            for line in (
                *tables.signatures(found),
                *tables.engines([found]),
                *tables.remarks([found]),
            ):
                print_line(line)


def _show_models(client: InferenceClient, *, as_json: bool) -> None:
    from inference_service.cli import tables
    from inference_service.cli.server_look import look

    seen = look(client)
    for problem in seen.problems:
        notices.print(
            f"warning: {printable(problem)}", markup=False, highlight=False, soft_wrap=True
        )
    if as_json:
        print_json(seen.models)
        return
    results.print(tables.models_table(seen.models))
    for line in tables.remarks(seen.models):
        # Below the table: longer than any column.
        print_line(line)


def _watch(client: InferenceClient, interval: float, *, as_json: bool) -> None:
    """Shows look after look until Ctrl-C; a server that is away is looked for again."""
    looks = _looks(client, interval)
    if as_json:
        for one in looks:
            print_json(_described(one))
        return
    if not results.is_terminal:
        for one in looks:
            results.print(_screen(one))
        return
    with Live(console=results, auto_refresh=False, screen=False) as live:
        for one in looks:
            live.update(_screen(one), refresh=True)


def _looks(client: InferenceClient, interval: float) -> Iterator[Look]:
    from inference_service.cli.server_look import Look, look

    last = Look(time.monotonic())
    while True:
        began = time.monotonic()
        try:
            last = look(client, before=last)
        except errors.PbserveError as error:
            # The models stay on the screen, as they were.
            last = Look(time.monotonic(), last.models, error=error)
        yield last
        time.sleep(max(0.0, interval - (time.monotonic() - began)))


def _screen(seen: Look) -> Group:
    from inference_service.cli import tables

    lines = [*seen.problems, *tables.remarks(seen.models)]
    if seen.error:
        lines.insert(0, f"no answer, this is old: {error_text(seen.error)}")
    now = f"{datetime.now():%H:%M:%S}"  # noqa: DTZ005 - the clock on the user's wall
    return Group(
        Text(now, style="dim"),
        tables.models_table(seen.models, {} if seen.error else seen.images_per_second),
        *(Text(printable(line), style="red") for line in lines),
    )


def _described(seen: Look) -> dict[str, object]:
    at = datetime.now(timezone.utc)
    if seen.error:
        said = {"reason": seen.error.reason, "message": seen.error.message}
        return {"at": at, "error": said}
    rates = [
        {"model": model, "version": version, "images_per_second": rate}
        for (model, version), rate in seen.images_per_second.items()
    ]
    return {"at": at, "models": seen.models, "rates": rates, "problems": seen.problems}
