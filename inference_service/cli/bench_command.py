"""`pbserve bench`: how fast a running server answers, drawn as it comes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live

from inference_service.cli.connecting import open_client
from inference_service.cli.options import (
    ANSWER_SECONDS,
    Card,
    Fit,
    FitOption,
    Images,
    Key,
    Label,
    Model,
    Npz,
    Version,
    connected,
)
from service_kit.cli.connection_options import ServerChoice
from service_kit.cli.console import notices, one_line_errors, print_json, results
from service_kit.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from inference_service.cli.bench.load import Load, LoadPlan
    from inference_service.cli.bench.requests import Request
    from inference_service.cli.bench.tally import Totals

_TICK_SECONDS = 1.0
_LONGEST_SECONDS = 24 * 3600.0
# What the last answers may take.
_DRAIN_SECONDS = 10.0
# Python lets a waiting thread run after 5 ms by default, which would be part of every latency.
_SWITCH_SECONDS = 0.0005


@connected
def bench(
    model: Model,
    images: Images = None,
    npz: Npz = None,
    key: Key = "images",
    fit: Fit = FitOption.EXACT,
    size: Annotated[
        str | None,
        typer.Option(
            help="Side, or HEIGHTxWIDTH, of random images for a model that takes any size.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Images in a request.")] = 1,
    streams: Annotated[int, typer.Option(min=1, max=256, help="Streams at a time.")] = 8,
    window: Annotated[
        int,
        typer.Option(
            min=1, max=1000, help="Requests under way in each stream; the next waits for an answer."
        ),
    ] = 1,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1e6,
            help="Requests a second, all streams together, whatever the server does (an open "
            "loop; --window is not used). Latency counts from the moment when a request was due, "
            "not from when it went: a stall of the server is not hidden by what it kept from "
            "being sent.",
            show_default="as answers come",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=_LONGEST_SECONDS,
            help="Seconds that each request has from the moment when it is due; one that goes late "
            "has less. Requests are calls of their own then. Goodput is what is answered in time.",
            show_default="no deadline",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=_LONGEST_SECONDS, help="Seconds that are measured.")
    ] = 10.0,
    warmup: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds before these, not measured.")
    ] = 1.0,
    card: Card = None,
    version: Version = 0,
    label: Label = "",
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one JSON object at the end; progress on standard error."
        ),
    ] = False,
    *,
    connection: ServerChoice,
) -> None:
    """Load a running server and measure it: random images, or those that are named.

    Exit codes: 0 all requests answered, 5 some, 1 none.
    """
    if images and npz:
        raise typer.BadParameter("name image files and folders, or an archive with --npz")
    sides = _sides(size)
    # What needs NumPy and gRPC is imported here, so that help starts faster.
    from inference_service.cli.bench.load import Load, LoadPlan
    from inference_service.cli.model_signature import signature_of

    with one_line_errors(), open_client(connection, retries=False) as client:
        signature = signature_of(client.model(model, timeout=ANSWER_SECONDS), version, label)
        plan = LoadPlan(
            model=model,
            requests=_requests(signature.inputs[0], images, npz, key, sides, batch),
            batch=batch,
            options={"card": card, "version": version, "label": label, "image_fit": fit.value},
            streams=streams,
            window=window,
            rate=rate,
            seconds=seconds,
            warmup_seconds=warmup,
            drain_seconds=_DRAIN_SECONDS,
            timeout=timeout,
        )
        with _quick_switches():
            load = Load(client, plan)
            whole = _watched(load, plan, as_json=as_json)
        totals = load.tally.totals()
        measured = load.measured_seconds
        if as_json:
            print_json(_summary(plan, totals, measured))
        else:
            from inference_service.cli.bench.screen import totals_table

            results.print(totals_table(_title(plan), totals, measured))
    raise typer.Exit(_exit_code(totals, whole=whole))


@contextlib.contextmanager
def _quick_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _requests(
    spec: Any, images: Any, npz: Any, key: str, size: tuple[int, int] | None, batch: int
) -> list[Request]:
    from inference_service.cli.bench.requests import image_requests, random_requests
    from inference_service.cli.inputs.named_images import named_images

    if images or npz:
        return image_requests(named_images(images or [], npz, key), spec.name, batch)
    return random_requests(spec, batch, size)


def _sides(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        sides = [int(part) for part in text.split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise typer.BadParameter(f"--size {text!r}: give one side, or HEIGHTxWIDTH")
    return sides[0], sides[-1]


def _watched(load: Load, plan: LoadPlan, *, as_json: bool) -> bool:
    """Shows the load until it has ended; returns whether it ended by itself."""
    from inference_service.cli.bench.screen import BenchScreen, interval_line

    console = notices if as_json else results
    drawn = console.is_terminal
    seconds = plan.warmup_seconds + plan.seconds
    screen = BenchScreen(_title(plan), seconds)
    whole = True
    with Live(console=console, auto_refresh=False, transient=True) as live:
        try:
            for elapsed, took in load.ticks(_TICK_SECONDS):
                interval = load.tally.interval()
                if drawn:
                    screen.add(interval, took)
                    live.update(screen.drawn(elapsed, load.tally.totals()), refresh=True)
                else:
                    line = interval_line(elapsed, interval, took)
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
        except KeyboardInterrupt:
            # What was measured until then is shown all the same.
            whole = False
        load.end()
    return whole


def _title(plan: LoadPlan) -> str:
    loop = f"{plan.rate:g} requests/s due" if plan.rate else f"{plan.window} under way in each"
    deadline = "" if plan.timeout is None else f", deadline {plan.timeout:g} s"
    return f"{plan.model}: {plan.streams} streams, {loop}, {plan.batch} images a request{deadline}"


def _summary(plan: LoadPlan, totals: Totals, seconds: float) -> dict[str, Any]:
    return {
        "model": plan.model,
        "streams": plan.streams,
        "window": None if plan.rate else plan.window,
        "rate": plan.rate,
        "timeout": plan.timeout,
        "batch": plan.batch,
        "seconds": seconds,
        "requests": totals.requests,
        "images": totals.images,
        "images_per_second": totals.images_in_span / seconds,
        "goodput_images_per_second": totals.images_in_time / seconds,
        "latency_ms": totals.latency,
        **{name: getattr(totals, name) for name in _COPIED},
    }


_COPIED = ("mean_queue_ms", "mean_compute_ms", "mean_batch_size", "cards", "versions", "errors")


def _exit_code(totals: Totals, *, whole: bool) -> ExitCode:
    if not whole:
        return ExitCode.INTERRUPTED
    if not totals.errors:
        return ExitCode.OK if totals.requests else ExitCode.FAILED
    return ExitCode.PARTLY if totals.requests else ExitCode.FAILED
