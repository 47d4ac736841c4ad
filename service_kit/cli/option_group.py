"""Options that several commands have, written once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

Command = Callable[..., None]


def option_group(
    parameter: str, options: Mapping[str, tuple[Any, Any]], make: Callable[..., Any]
) -> Callable[[Command], Command]:
    """Returns a decorator for commands that have a certain parameter.

    The command line then has the options in the parameter's place, and the command gets what is
    made of them; none of them is repeated in the commands.

    Args:
        parameter: its name.
        options: name -> what typer reads of an option (an `Annotated` type), and its default.
        make: called with the values by name, when the command runs.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(**values: Any) -> None:
            made = make(**{name: values.pop(name) for name in options})
            command(**values, **{parameter: made})

        parameters = _replace(inspect.signature(command, eval_str=True), parameter, options)
        # What typer reads.
        signature: Any = inspect.Signature(parameters)
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def _replace(
    signature: inspect.Signature, parameter: str, options: Mapping[str, tuple[Any, Any]]
) -> list[inspect.Parameter]:
    parameters: list[inspect.Parameter] = []
    for one in signature.parameters.values():
        if one.name == parameter:
            parameters += [
                inspect.Parameter(name, one.KEYWORD_ONLY, annotation=annotation, default=default)
                for name, (annotation, default) in options.items()
            ]
        else:
            parameters.append(one.replace(kind=one.KEYWORD_ONLY))
    return parameters
