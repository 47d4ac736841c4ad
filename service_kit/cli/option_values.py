"""Values that options have as text, read the same way by both command lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import typer

from service_kit import errors


def image_size_of(text: str | None) -> tuple[int, int] | None:
    """Returns height and width in pixels from one side or HEIGHTxWIDTH; None stays None."""
    if text is None:
        return None
    sides = numbers_of("image-size", text.replace("x", ","), int)
    if len(sides) not in (1, 2):
        raise typer.BadParameter(f"{text!r}: give one side, or HEIGHTxWIDTH")
    return (sides[0], sides[-1])


def numbers_of(option: str, text: str | None, kind: type[Any]) -> list[Any]:
    """Returns the numbers in a comma-separated text; none for None."""
    if text is None:
        return []
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--{option} {text!r}: give numbers with commas between") from None


def settings_of(option: str, texts: Sequence[str]) -> dict[str, Any]:
    """Returns NAME -> value of texts `NAME=VALUE`; a value is JSON, or else itself a text."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"--{option} {text!r}: give NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            # As people write them in Python.
            found[name] = {"True": True, "False": False}.get(value, value)
    return found


def checked_by(check: Callable[[str], object]) -> Callable[[str], str]:
    """Returns a callback for an option: what `check` refuses is a wrong option, and ends with 2.

    Empty texts are not checked: they stand for what was left out.
    """

    def checked(text: str) -> str:
        try:
            if text:
                check(text)
        except errors.InvalidRequest as error:
            raise typer.BadParameter(str(error)) from None
        return text

    return checked
