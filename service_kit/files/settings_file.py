"""Settings in YAML: the text of a file -> a checked model, or a list of what is wrong with it."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any, TypeVar

import pydantic
from pydantic import BaseModel

from service_kit import errors
from service_kit.files.strict_yaml import parse_yaml

# Of a key that is shown.
LONGEST_KEY = 80
# Enough to see what is wrong with a file.
_MAX_PROBLEMS = 5

Settings = TypeVar("Settings", bound=BaseModel)


def parse_settings(
    whole: type[Settings], text: str, where: str, parts: Sequence[type[BaseModel]] = ()
) -> Settings:
    """Returns the settings in a file.

    Args:
        whole: the file's model; forbids extra fields.
        text: the file's content; empty: no settings.
        where: its name, for errors.
        parts: models of what is inside, in the order of their depth; for errors.

    Raises:
        InvalidRequest: it is no YAML, or a setting is unknown or out of range; says which ones.
    """
    values = parse_yaml(text, where)
    try:
        return whole.model_validate({} if values is None else values)
    except pydantic.ValidationError as error:
        problems = _problems(error, (whole, *parts))
        raise errors.InvalidRequest(f"{where}: {problems}") from None


def _problems(error: pydantic.ValidationError, models: Sequence[type[BaseModel]]) -> str:
    lines = [_problem(one, models) for one in error.errors(include_url=False)]
    more = len(lines) - _MAX_PROBLEMS
    return "; ".join([*lines[:_MAX_PROBLEMS], *([f"and {more} more"] if more > 0 else [])])


def _problem(found: Any, models: Sequence[type[BaseModel]]) -> str:
    # pydantic marks problems of keys with a step of its own.
    path = [str(step) for step in found["loc"] if step != "[key]"]
    what = str(found["msg"]).removeprefix("Value error, ").split(" or instance of ")[0]
    if found["type"] == "extra_forbidden":
        model = models[0] if len(path) == 1 else models[-1]
        what = f"unknown; there are {', '.join(model.model_fields)}"
    return f"{'.'.join(map(_step_text, path)) or 'the whole'}: {what}"


def _step_text(step: str) -> str:
    """Returns a key as it may stand in a log: short, and without control characters."""
    return step if step.isprintable() and len(step) <= LONGEST_KEY else reprlib.repr(step)
