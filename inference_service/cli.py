"""`pbserve`: the inference service and its client on the command line."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer
from rich.table import Table

from inference_service.client import InferenceClient
from inference_service.results import Model, StreamAnswer
from inference_service.settings import InferenceSettings
from service_kit import errors
from service_kit.address import parse_address
from service_kit.console import LogFormatOption, one_line_errors, print_json, results

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Serves frozen graphs from an artifact store and streams predictions.",
)

Address = Annotated[
    str, typer.Option(envvar="PBSERVE_ADDRESS", help="Inference service to ask, host:port.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
_ADDRESS = "127.0.0.1:8500"
_MEGABYTE = 2**20


@app.command()
def serve(
    listen: Annotated[
        str, typer.Option(envvar="PBSERVE_LISTEN", help="Address to listen on; port 0: any.")
    ] = _ADDRESS,
    store: Annotated[
        str, typer.Option(envvar="PBSERVE_STORE", help="Artifact store: a path or fsspec URL.")
    ] = "./models",
    poll: Annotated[
        float,
        typer.Option(envvar="PBSERVE_POLL", min=0.01, help="Seconds between looks at the store."),
    ] = 1.0,
    max_batch_size: Annotated[
        int,
        typer.Option(envvar="PBSERVE_MAX_BATCH_SIZE", min=1, help="Images in one batch, at most."),
    ] = 8,
    queue_images: Annotated[
        int,
        typer.Option(envvar="PBSERVE_QUEUE_IMAGES", min=1, help="Images outstanding on a card."),
    ] = 1024,
    stream_window: Annotated[
        int,
        typer.Option(
            envvar="PBSERVE_STREAM_WINDOW", min=1, help="Requests in flight in one stream."
        ),
    ] = 64,
    max_message_mb: Annotated[
        int,
        typer.Option(envvar="PBSERVE_MAX_MESSAGE_MB", min=1, max=2047, help="MiB in one message."),
    ] = 64,
    lame_duck: Annotated[
        float,
        typer.Option(
            envvar="PBSERVE_LAME_DUCK", min=0, help="Seconds from NOT_SERVING to no new calls."
        ),
    ] = 0.0,
    grace: Annotated[
        float,
        typer.Option(envvar="PBSERVE_GRACE", min=0, help="Seconds for calls in flight at the end."),
    ] = 10.0,
    log_format: Annotated[
        LogFormatOption, typer.Option(envvar="PBSERVE_LOG_FORMAT", help="Logs on standard error.")
    ] = LogFormatOption.CONSOLE,
) -> None:
    """Run the inference service until SIGTERM or Ctrl-C."""
    from inference_service.__main__ import run  # the server's imports are not the client's

    with one_line_errors():
        run(
            InferenceSettings(
                listen=parse_address(listen),
                store=store,
                poll_seconds=poll,
                max_batch_size=max_batch_size,
                queue_images=queue_images,
                stream_window=stream_window,
                lame_duck_seconds=lame_duck,
                grace_seconds=grace,
                log_format=log_format.value,
                max_message_bytes=max_message_mb * _MEGABYTE,
            )
        )


@app.command()
def models(address: Address = _ADDRESS, as_json: Json = False) -> None:
    """List models, versions, states and cards."""
    with one_line_errors(), InferenceClient(address) as client:
        found = client.models()
        if as_json:
            print_json(found)
        else:
            results.print(_models_table(found))


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="Name of the model.", show_default=False)],
    npz: Annotated[Path, typer.Option(help="NumPy archive with the images.")],
    key: Annotated[str, typer.Option(help="Array in the archive, [images, ...].")] = "images",
    card: Annotated[Optional[int], typer.Option(help="Card to run on; default: any.")] = None,
    version: Annotated[int, typer.Option(help="Version to ask; 0: the newest.")] = 0,
    address: Address = _ADDRESS,
    as_json: Json = False,
) -> None:
    """Stream the images of an archive, one request each, and print the answers in order."""
    with one_line_errors(), InferenceClient(address) as client:
        images = _archived(npz, key)
        answers = client.stream(
            model,
            (images[index : index + 1] for index in range(len(images))),
            card=card,
            version=version,
            in_request_order=True,
        )
        if as_json:
            for answer in answers:
                print_json(_described(answer))
        else:
            results.print(_answers_table(answers))


def _archived(path: Path, key: str) -> np.ndarray[Any, Any]:
    """Returns an array with at least one dimension from an archive; pickles are not read."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not hasattr(archive, "files"):
                raise errors.InvalidRequest(f"{path} holds one array: save it with numpy.savez")
            if key not in archive.files:
                raise errors.InvalidRequest(
                    f"{path} has no array {key!r}; it has {', '.join(archive.files) or 'none'}"
                )
            array: np.ndarray[Any, Any] = archive[key]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise errors.InvalidRequest(f"{path} cannot be read as a NumPy archive: {error}") from error
    if array.ndim == 0:
        raise errors.InvalidRequest(f"array {key!r} of {path} is a single number")
    return array


def _described(answer: StreamAnswer) -> dict[str, Any]:
    prediction = answer.result()
    first = {"index": answer.index}
    outputs = {name: output[0].tolist() for name, output in prediction.outputs.items()}
    return {**first, **outputs, "card": prediction.card, "version": prediction.version}


def _answers_table(answers: Any) -> Table:
    table = Table("index", "class", "probability", "card", "version", "compute ms")
    for answer in answers:
        prediction = answer.result()
        for output in prediction.outputs.values():
            best = int(np.argmax(output[0]))
            table.add_row(
                str(answer.index),
                str(best),
                f"{float(output[0].flat[best]):.5f}",
                str(prediction.card),
                str(prediction.version),
                f"{prediction.compute_seconds * 1e3:.1f}",
            )
    return table


def _models_table(models_: list[Model]) -> Table:
    table = Table()
    for name in ("model", "version", "state", "cards", "answered", "outstanding"):
        table.add_column(name, no_wrap=True)
    table.add_column("reason", overflow="fold")
    for model in models_:
        for version in model.versions:
            default = " (default)" if version.version == model.default_version else ""
            table.add_row(
                model.name,
                f"{version.version}{default}",
                version.state,
                str(len(version.cards)),
                " + ".join(str(card.answered_images) for card in version.cards),
                " + ".join(str(card.outstanding_images) for card in version.cards),
                version.reason,
            )
    return table
