"""What both command lines share: where results and errors go, and how JSON looks."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import math
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import typer
from rich.console import Console

from service_kit import errors

# Results go to standard output, everything else to standard error.
results = Console()
notices = Console(stderr=True)

# Exit code of a call that the service refused or could not answer; 2 is a usage error.
FAILED = 1


class LogFormatOption(str, enum.Enum):
    """Log formats as options."""

    CONSOLE = "console"
    JSON = "json"


def print_json(value: Any) -> None:
    """Prints a value as one line of JSON; see `plain`."""
    print(json.dumps(plain(value), allow_nan=False), flush=True)


def plain(value: Any) -> Any:  # noqa: PLR0911 - one line a type
    """Returns dataclasses, enums and times as what JSON knows: objects, names, ISO 8601.

    Numbers that JSON lacks become the strings `NaN`, `Infinity` and `-Infinity`.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        # As protobuf's JSON has it; JSON itself has no such numbers.
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    return value


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the program with a one-line message for every expected error."""
    try:
        yield
    except errors.PbserveError as error:
        notices.print(
            f"error: {_printable(str(error))}",
            style="bold red",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        notices.print("interrupted")
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # The reader of a pipe has seen enough; nothing is left to flush.
        sys.stdout = None
        raise typer.Exit(0) from None
    except OSError as error:
        sys.stdout = None
        notices.print(f"error: cannot write the result: {error.strerror}", style="bold red")
        raise typer.Exit(FAILED) from None


def _printable(text: str) -> str:
    """Returns text without what would steer a terminal: names may come from anywhere."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def size_text(size_bytes: int) -> str:
    """Returns a size for people: `51.33 MB`, in powers of ten."""
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1e3:.1f} kB"
    return f"{size_bytes / 1e6:.2f} MB"
