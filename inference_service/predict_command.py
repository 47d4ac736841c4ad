"""`pbserve predict`: the images of an archive or of files, streamed."""

from __future__ import annotations

import enum
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from inference_service.client import InferenceClient
from inference_service.client_codec import Inputs, RequestOptions
from inference_service.npz_file import array_of
from inference_service.options import DEFAULT_ADDRESS, Address, Json, Model
from inference_service.results import Prediction
from service_kit import errors
from service_kit.console import one_line_errors, print_json, results

# How long one image is sent again to a server that asks for patience.
_RETRY_SECONDS = 60.0


class FitOption(str, enum.Enum):
    """Ways to bring an encoded image to the model's size, as options."""

    EXACT = "exact"
    STRETCH = "stretch"
    CROP = "crop"


def predict(
    model: Model,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="JPEG or PNG file; may be repeated.", show_default=False),
    ] = None,
    npz: Annotated[
        Path | None, typer.Option(help="NumPy archive with the images.", show_default=False)
    ] = None,
    key: Annotated[str, typer.Option(help="Array in the archive, [images, ...].")] = "images",
    fit: Annotated[
        FitOption, typer.Option(help="How files are brought to the model's size.")
    ] = FitOption.EXACT,
    top: Annotated[
        int, typer.Option(min=0, help="Best classes of each image; 0: the outputs themselves.")
    ] = 0,
    card: Annotated[int | None, typer.Option(help="Card to run on.", show_default="any")] = None,
    version: Annotated[int, typer.Option(help="Version to ask; 0: the newest.")] = 0,
    label: Annotated[
        str, typer.Option(help="Label of the version to ask.", show_default=False)
    ] = "",
    bulk: Annotated[
        bool, typer.Option("--bulk", help="Let interactive requests go first.")
    ] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Stream images, one request each, and print the answers in order."""
    with one_line_errors(), InferenceClient(address) as client:
        options = RequestOptions(
            card=card,
            version=version,
            label=label,
            top=top,
            priority="bulk" if bulk else "interactive",
            image_fit=fit.value,
        )
        named = _images(image or [], npz, key)
        answers = _answers(client, model, named, options)
        if as_json:
            for index, prediction in answers:
                print_json(_described(index, prediction))
        else:
            results.print(_top_table(answers) if top else _answers_table(answers))


def _images(files: Sequence[Path], npz: Path | None, key: str) -> list[tuple[str, Inputs]]:
    """Returns a name for people and one image a request."""
    if bool(files) == bool(npz):
        raise errors.InvalidRequest("give the images with --image, or with --npz")
    if npz:
        images = array_of(npz, key)
        return [(f"image {n}", images[n : n + 1]) for n in range(len(images))]
    try:
        return [(str(path), [path.read_bytes()]) for path in files]
    except OSError as error:
        raise errors.InvalidRequest(f"{error.filename} cannot be read: {error.strerror}") from error


def _answers(
    client: InferenceClient,
    model: str,
    named: Sequence[tuple[str, Inputs]],
    options: RequestOptions,
) -> Iterator[tuple[int, Prediction]]:
    """Yields an answer an image, in order; asks again for what the server told to send later."""
    images = (one for _, one in named)
    for answer in client.stream(model, images, in_request_order=True, **options):
        name, image = named[answer.index]
        error = answer.error
        ends = time.monotonic() + _RETRY_SECONDS
        while error and error.retry_after and time.monotonic() < ends:
            time.sleep(error.retry_after)
            try:
                yield answer.index, client.predict(model, image, **options)
                break
            except errors.PbserveError as again:
                error = again
        else:
            if error:
                raise type(error)(f"{name}: {error}")
            yield answer.index, answer.result()


def _described(index: int, prediction: Prediction) -> dict[str, Any]:
    outputs = {name: output[0].tolist() for name, output in prediction.outputs.items()}
    top = {"top": prediction.top[0]} if prediction.top else {}
    return {
        "index": index,
        **outputs,
        **top,
        "card": prediction.card,
        "version": prediction.version,
    }


def _top_table(answers: Iterable[tuple[int, Prediction]]) -> Table:
    table = Table("index", "class", "label", "score", "card", "version", "compute ms")
    for index, prediction in answers:
        for rank, one in enumerate(prediction.top[0]):
            table.add_row(
                "" if rank else str(index),
                str(one.index),
                escape(one.label),
                f"{one.score:.5f}",
                *([] if rank else _who(prediction)),
            )
    return table


def _answers_table(answers: Iterable[tuple[int, Prediction]]) -> Table:
    table = Table("index", "output", "class", "probability", "card", "version", "compute ms")
    for index, prediction in answers:
        for name, output in prediction.outputs.items():
            best = int(np.argmax(output[0])) if output[0].size else 0
            table.add_row(
                str(index),
                escape(name),
                str(best),
                f"{float(output[0].flat[best]):.5f}" if output[0].size else "",
                *_who(prediction),
            )
    return table


def _who(prediction: Prediction) -> list[str]:
    return [
        str(prediction.card),
        str(prediction.version),
        f"{prediction.compute_seconds * 1e3:.1f}",
    ]
