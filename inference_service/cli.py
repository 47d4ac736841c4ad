"""`pbserve`: the inference service and its client on the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from inference_service import tables
from inference_service.client import InferenceClient
from inference_service.options import DEFAULT_ADDRESS, Address, Json, Model
from inference_service.predict_command import predict
from inference_service.serve_command import serve
from service_kit.console import notices, one_line_errors, print_json, results

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Serves frozen graphs from an artifact store and streams predictions.",
)
app.command()(serve)
app.command()(predict)


@app.command()
def models(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """List models, versions, states and cards."""
    with one_line_errors(), InferenceClient(address) as client:
        found = client.models()
        for problem in client.problems():
            notices.print(f"warning: {problem}", markup=False, highlight=False, soft_wrap=True)
        if as_json:
            print_json(found)
        else:
            results.print(tables.models_table(found))
            for line in tables.remarks(found):
                # Below the table: longer than any column.
                _say(line)


@app.command()
def show(model: Model, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Show the cards of one model: where they run, how fast, and how they do."""
    with one_line_errors(), InferenceClient(address) as client:
        found = client.model(model)
        if as_json:
            print_json(found)
        else:
            results.print(tables.cards_table(found))
            for line in tables.remarks([found]):
                _say(line)


@app.command()
def load(
    model: Model,
    version: Annotated[
        int, typer.Argument(help="Version; 0: what the version policy chooses.")
    ] = 0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Have the server look at its store for a model now, and wait until it is served."""
    with one_line_errors(), InferenceClient(address) as client:
        loaded = client.load(model, version)
        if as_json:
            print_json(loaded)
        else:
            _say(f"{model} version {loaded.version} is {loaded.state}{tables.speed_text(loaded)}")


@app.command()
def unload(
    model: Model,
    version: Annotated[int, typer.Argument(help="Version; 0: the whole model.")] = 0,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Stop serving a version, until it is loaded again or the server starts anew."""
    with one_line_errors(), InferenceClient(address) as client:
        client.unload(model, version)
        _say(f"{model}{f' version {version}' if version else ''} is unloaded")


@app.command()
def label(
    model: Model,
    name: Annotated[str, typer.Argument(help="Label, for example stable.", show_default=False)],
    version: Annotated[
        int, typer.Argument(help="Version that it points at; 0 removes it.", show_default=False)
    ],
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Point a label at a version; `default` is for requests that name neither."""
    with one_line_errors(), InferenceClient(address) as client:
        client.set_label(model, name, version)
        _say(
            f"label {name} of {model} is at version {version}"
            if version
            else f"label {name} of {model} is removed"
        )


def _say(line: str) -> None:
    results.print(line, markup=False, highlight=False, soft_wrap=True)
