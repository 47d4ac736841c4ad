"""`pbserve`: the inference service and its client on the command line."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer
from rich.table import Table

from inference_service.client import InferenceClient
from inference_service.results import Model, Prediction
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
# How long one image is sent again to a server that asks for patience.
_RETRY_SECONDS = 60.0


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
            # Below the table: a reason is longer than any column.
            for model in found:
                for version in model.versions:
                    if version.reason:
                        line = f"{model.name} version {version.version}: {version.reason}"
                        results.print(line, markup=False, highlight=False, soft_wrap=True)


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
        answers = _answers(client, model, images, card=card, version=version)
        if as_json:
            for index, prediction in answers:
                print_json(_described(index, prediction))
        else:
            results.print(_answers_table(answers))


def _answers(
    client: InferenceClient,
    model: str,
    images: np.ndarray[Any, Any],
    *,
    card: int | None,
    version: int,
) -> Iterator[tuple[int, Prediction]]:
    """Yields an answer an image, in order; asks again for what the server told to send later."""
    groups = (images[index : index + 1] for index in range(len(images)))
    answers = client.stream(model, groups, card=card, version=version, in_request_order=True)
    for answer in answers:
        error = answer.error
        ends = time.monotonic() + _RETRY_SECONDS
        while error and error.retry_after and time.monotonic() < ends:
            time.sleep(error.retry_after)
            image = images[answer.index : answer.index + 1]
            try:
                yield answer.index, client.predict(model, image, card=card, version=version)
                break
            except errors.PbserveError as again:
                error = again
        else:
            if error:
                raise type(error)(f"image {answer.index}: {error}")
            yield answer.index, answer.result()


def _archived(path: Path, key: str) -> np.ndarray[Any, Any]:
    """Returns an array with at least one dimension from an archive; pickles are not read."""
    try:
        array = _read_array(path, key)
    except errors.PbserveError:
        raise
    # A damaged archive fails in whatever layer meets the damage first.
    except Exception as error:
        reason = "it holds Python objects" if "allow_pickle" in str(error) else error
        raise errors.InvalidRequest(
            f"{path} cannot be read as a NumPy archive: {reason}"
        ) from error
    if array.ndim == 0:
        raise errors.InvalidRequest(f"array {key!r} of {path} is a single number")
    return array


def _read_array(path: Path, key: str) -> np.ndarray[Any, Any]:
    archive = np.load(path, allow_pickle=False)
    if isinstance(archive, np.ndarray):
        raise errors.InvalidRequest(f"{path} holds one array: save it with numpy.savez")
    with archive:
        if key not in archive.files:
            raise errors.InvalidRequest(
                f"{path} has no array {key!r}; it has {', '.join(archive.files) or 'none'}"
            )
        array = archive[key]
    if not isinstance(array, np.ndarray):
        raise errors.InvalidRequest(f"{key!r} of {path} is no array")
    return array


def _described(index: int, prediction: Prediction) -> dict[str, Any]:
    outputs = {name: output[0].tolist() for name, output in prediction.outputs.items()}
    return {"index": index, **outputs, "card": prediction.card, "version": prediction.version}


def _answers_table(answers: Iterable[tuple[int, Prediction]]) -> Table:
    table = Table("index", "class", "probability", "card", "version", "compute ms")
    for index, prediction in answers:
        for output in prediction.outputs.values():
            best = int(np.argmax(output[0])) if output[0].size else 0
            table.add_row(
                str(index),
                str(best),
                f"{float(output[0].flat[best]):.5f}" if output[0].size else "",
                str(prediction.card),
                str(prediction.version),
                f"{prediction.compute_seconds * 1e3:.1f}",
            )
    return table


def _models_table(models_: list[Model]) -> Table:
    table = Table()
    for name in ("model", "version", "state", "cards", "answered", "outstanding"):
        table.add_column(name, overflow="fold")
    for model in models_:
        for version in model.versions:
            default = " (default)" if version.version == model.default_version else ""
            table.add_row(
                model.name,
                f"{version.version}{default}",
                version.state,
                str(len(version.cards)),
                str(sum(card.answered_images for card in version.cards)),
                str(sum(card.outstanding_images for card in version.cards)),
            )
    return table
