"""Options that several commands have, written once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

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


def by_topic(topics: Mapping[str, Sequence[str]]) -> Callable[[Command], Command]:
    """Returns a decorator that sorts a command's options into panels of its help.

    Names of environment variables are not repeated there: they are made of the options' names,
    which the command's own text says once.

    Args:
        topics: title of a panel -> names of parameters.
    """
    topic_of = {name: topic for topic, names in topics.items() for name in names}

    def decorate(command: Command) -> Command:
        parameters = inspect.signature(command, eval_str=True).parameters
        for name, parameter in parameters.items():
            for option in getattr(parameter.annotation, "__metadata__", ()):
                option.show_envvar = False
                # Types in full take the width that names and words need.
                if option.min is not None:
                    option.metavar = "N"
                elif list[str] in get_args(parameter.annotation.__origin__):
                    option.metavar = "TEXT"
                if name in topic_of:
                    option.rich_help_panel = topic_of[name]
        # As evaluated: from text, typer would make the options anew.
        command.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
        command.__annotations__ = {name: one.annotation for name, one in parameters.items()}
        return command

    return decorate
