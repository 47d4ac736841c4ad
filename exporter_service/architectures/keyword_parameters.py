"""The keyword-only arguments of a builder as a model of parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def parameters_of(function: Callable[..., Any]) -> type[BaseModel]:
    """Returns the model of what `function` takes besides its images.

    It is strict and takes nothing else. Annotations may be strings of names that the
    function's module has.

    Raises:
        TypeError: says which argument cannot become a parameter, and why.
    """
    arguments = list(inspect.signature(function).parameters.values())
    if not arguments or arguments[0].kind not in _POSITIONAL:
        raise TypeError("the builder's first argument must take the images")
    return create_model(
        "Parameters",
        __config__=ConfigDict(extra="forbid", frozen=True, strict=True),
        __module__=getattr(function, "__module__", __name__),
        **{argument.name: _field(argument) for argument in arguments[1:]},
    )


def _field(argument: inspect.Parameter) -> Any:
    if argument.kind is not inspect.Parameter.KEYWORD_ONLY:
        raise TypeError(
            f"the builder's argument {argument} is not keyword-only: write it after a '*'"
        )
    if argument.annotation is inspect.Parameter.empty:
        raise TypeError(f"the builder's argument {argument.name} has no annotation")
    required = argument.default is inspect.Parameter.empty
    return (argument.annotation, ... if required else argument.default)
