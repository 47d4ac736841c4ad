"""Values of the command line's options."""

from __future__ import annotations

import enum
from typing import Any

import typer


class Device(str, enum.Enum):
    """Device kinds as options."""

    GPU = "gpu"
    CPU = "cpu"


class Average(str, enum.Enum):
    """Moving-average modes as options."""

    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


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
