"""`pbserve predict`: image files, folders of them, or an archive, streamed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from inference_service.cli.connecting import open_client
from inference_service.cli.options import (
    ANSWER_SECONDS,
    Bulk,
    Card,
    Fit,
    FitOption,
    Images,
    Key,
    Label,
    Model,
    Npz,
    Timeout,
    Version,
    connected,
)
from service_kit.cli.connection_options import ServerChoice
from service_kit.cli.console import (
    error_text,
    notices,
    one_line_errors,
    print_error,
    results,
)
from service_kit.cli.exit_codes import ExitCode
from service_kit.terminal_text import printable

if TYPE_CHECKING:
    from inference_service.cli.answer_reports import Report
    from inference_service.cli.inputs.image_stream import ImageStream
    from inference_service.cli.model_signature import ModelSignature

# With fewer images a bar would be gone before it is seen.
_MANY = 10


@connected
def predict(
    model: Model,
    images: Images = None,
    npz: Npz = None,
    key: Key = "images",
    fit: Fit = FitOption.EXACT,
    top: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Best classes of each image; 0: the outputs themselves.",
            show_default="1 in tables and CSV where the model ranks classes, else 0",
        ),
    ] = None,
    card: Card = None,
    version: Version = 0,
    label: Label = "",
    bulk: Bulk = False,
    timeout: Timeout = None,
    window: Annotated[int, typer.Option(min=1, max=1024, help="Images under way at a time.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object an image.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a line a class.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Write the outputs into this .npz, instead of the table.",
            show_default=False,
        ),
    ] = None,
    *,
    connection: ServerChoice,
) -> None:
    """Ask a model about images, in their order; an image that fails costs itself alone.

    Exit codes: 0 all answered, 5 some, 1 none.
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv: choose one")
    if bool(images) == bool(npz):
        raise typer.BadParameter("name image files and folders, or an archive with --npz")
    # What needs NumPy and gRPC is imported here, so that help starts faster.
    from inference_service.cli.inputs.image_stream import ImageStream
    from inference_service.cli.inputs.named_images import named_images
    from inference_service.cli.model_signature import signature_of

    with one_line_errors(), open_client(connection) as client:
        named = named_images(images or [], npz, key)
        signature = signature_of(client.model(model, timeout=ANSWER_SECONDS), version, label)
        if top is None:
            top = 0 if as_json or output or not signature.ranked else 1
        stream = ImageStream(
            client,
            model,
            signature.input_name,
            named,
            {
                "card": card,
                "version": version,
                "label": label,
                "top": top,
                "output_names": signature.output_names if output else (),
                "priority": "bulk" if bulk else "interactive",
                "image_fit": fit.value,
            },
            window=window,
            timeout=timeout,
        )
        with contextlib.ExitStack() as stack:
            bar = stack.enter_context(_bar(len(named), lines=as_json or as_csv))
            reports = _reports(stack, bar, signature, top, output, as_json=as_json, as_csv=as_csv)
            failed = _reported(stream, reports, bar)
        if output:
            answered = len(named) - failed
            said = notices if as_json or as_csv else results
            said.print(
                f"{answered} answers are in {printable(str(output))}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    if failed:
        _end_with_failures(failed, len(named))


def _reports(
    stack: contextlib.ExitStack,
    bar: Progress,
    signature: ModelSignature,
    top: int,
    output: Path | None,
    *,
    as_json: bool,
    as_csv: bool,
) -> list[Report]:
    from inference_service.cli.answer_archive import AnswerArchive
    from inference_service.cli.answer_reports import CsvReport, JsonReport, TableReport

    reports: list[Report] = []
    if as_json:
        reports.append(JsonReport())
    if as_csv:
        reports.append(CsvReport(ranked=top > 0))
    if output:
        reports.append(stack.enter_context(AnswerArchive(output)))
    score = "probability" if signature.ranked == "probs" else "score"
    return reports or [TableReport(lambda: _paused(bar), score=score if top else "")]


def _reported(stream: ImageStream, reports: list[Report], bar: Progress) -> int:
    """Returns the number of images that failed."""
    failed = 0
    task = bar.task_ids[0]
    for answer in stream.answers():
        if answer.error:
            failed += 1
            print_error(f"{answer.name}: {error_text(answer.error)}")
        for report in reports:
            report.add(answer)
        bar.advance(task)
    for report in reports:
        report.end()
    return failed


def _bar(images: int, *, lines: bool) -> Progress:
    """Returns a bar on standard error; none where lines come to the same terminal."""
    hidden = images < _MANY or not notices.is_terminal or (lines and results.is_terminal)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images"),
        TimeRemainingColumn(),
        console=notices,
        transient=True,
        disable=hidden,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    bar.add_task("predicts", total=images)
    return bar


@contextlib.contextmanager
def _paused(bar: Progress) -> Iterator[None]:
    bar.stop()
    yield
    bar.start()


def _end_with_failures(failed: int, images: int) -> None:
    if failed < images:
        notices.print(f"{failed} of {images} images failed; the others were answered")
        raise typer.Exit(ExitCode.PARTLY)
    raise typer.Exit(ExitCode.FAILED)
