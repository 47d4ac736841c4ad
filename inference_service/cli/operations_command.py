"""`pbserve load`, `unload` and `label`: what operators can ask of a running server."""

from __future__ import annotations

from typing import Annotated

import typer

from inference_service.cli.connecting import open_client
from inference_service.cli.options import ANSWER_SECONDS, Json, Model, Timeout, connected
from service_kit.cli.connection_options import ServerChoice
from service_kit.cli.console import one_line_errors, print_json, print_line, results


@connected
def load(
    model: Model,
    version: Annotated[
        int, typer.Argument(help="Version; 0: what the version policy chooses.")
    ] = 0,
    timeout: Timeout = None,
    as_json: Json = False,
    *,
    connection: ServerChoice,
) -> None:
    """Have the server look at its store for a model now, and wait until it is served.

    When the timeout is over, the server still goes on.
    """
    with one_line_errors(), open_client(connection) as client:
        loaded = client.load(model, version, timeout=timeout)
        if as_json:
            print_json(loaded)
        else:
            from inference_service.cli.tables import speed_text

            state = f"version {loaded.version} is {loaded.state}"
            print_line(f"{model} {state}{speed_text(loaded)}")


@connected
def unload(
    model: Model,
    version: Annotated[int, typer.Argument(help="Version; 0: the whole model.")] = 0,
    timeout: Timeout = None,
    as_json: Json = False,
    *,
    connection: ServerChoice,
) -> None:
    """Stop serving a version, until it is loaded again or the server starts anew.

    Waits until its requests have their answers and its memory is free.
    """
    with one_line_errors(), open_client(connection) as client:
        client.unload(model, version, timeout=timeout)
        if as_json:
            print_json({"model": model, "version": version})
        else:
            print_line(f"{model}{f' version {version}' if version else ''} is unloaded")


@connected
def label(
    model: Model,
    name: Annotated[str, typer.Argument(help="Label, for example stable.", show_default=False)],
    version: Annotated[
        int, typer.Argument(help="Version that it points at; 0 removes it.", show_default=False)
    ],
    every: Annotated[
        bool,
        typer.Option(
            "--all", help="Tell every server behind the address, and show which of them agreed."
        ),
    ] = False,
    as_json: Json = False,
    *,
    connection: ServerChoice,
) -> None:
    """Point a label at a version; `default` is for requests that name neither.

    A server forgets it when it starts anew: what shall last goes into the models file. With --all
    give the address of all servers, such as dns:///pbserve-inference-headless.pbserve.svc:8500.
    """
    if every:
        _label_all(connection, model, name, version, as_json=as_json)
        return
    with one_line_errors(), open_client(connection) as client:
        client.set_label(model, name, version, timeout=ANSWER_SECONDS)
        if as_json:
            print_json({"model": model, "label": name, "version": version})
        else:
            print_line(_at(model, name, version))


def _at(model: str, name: str, version: int) -> str:
    return f"label {name} of {model} is {f'at version {version}' if version else 'removed'}"


def _label_all(
    connection: ServerChoice, model: str, name: str, version: int, *, as_json: bool
) -> None:
    from inference_service.cli.fleet import answers_table, ask_all, exit_code

    with one_line_errors():
        answers = ask_all(
            connection,
            lambda client: client.set_label(model, name, version, timeout=ANSWER_SECONDS),
        )
        if as_json:
            said = [
                {"address": one.address, "agreed": one.agreed, "error": one.error}
                for one in answers
            ]
            print_json({"model": model, "label": name, "version": version, "servers": said})
        else:
            results.print(answers_table(answers))
            agreed = sum(one.agreed for one in answers)
            print_line(f"{_at(model, name, version)} on {agreed} of {len(answers)} servers")
        if code := exit_code(answers):
            raise typer.Exit(code)
