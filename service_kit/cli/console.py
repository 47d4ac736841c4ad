"""What both command lines share: where results and errors go, and how JSON looks."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import math
import sys
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from service_kit import errors
from service_kit.cli.exit_codes import ExitCode, exit_code_of
from service_kit.terminal_text import printable

# Results go to standard output, everything else to standard error.
results = Console()
notices = Console(stderr=True)


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
    """Ends the program with a one-line message for every expected error; see `exit_codes`."""
    try:
        yield
    except errors.PbserveError as error:
        print_error(error_text(error))
        raise typer.Exit(exit_code_of(error)) from None
    except KeyboardInterrupt:
        notices.print("interrupted")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of a pipe has seen enough; nothing is left to flush.
        sys.stdout = None
        raise typer.Exit(ExitCode.OK) from None
    except OSError as error:
        sys.stdout = None
        print_error(f"cannot write the result: {error.strerror}")
        raise typer.Exit(ExitCode.FAILED) from None


def error_text(error: errors.PbserveError) -> str:
    """Returns an error for people, with when to come again."""
    if error.retry_after is None:
        return str(error)
    return f"{error} (try again in {error.retry_after:.3g} s)"


def print_error(text: str) -> None:
    """Prints one line on standard error."""
    notices.print(
        f"error: {printable(text)}", style="bold red", markup=False, highlight=False, soft_wrap=True
    )


def print_line(text: str) -> None:
    """Prints one line on standard output, as it is."""
    results.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def lean_table(*names: str, words: Collection[str] = (), **more: Any) -> Table:
    """Returns a table that leaves 80 columns to what is in it; numbers stand to the right.

    Args:
        names: of the columns.
        words: those of them that hold words.
        more: for `Table`.
    """
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True, **more
    )
    for name in names:
        table.add_column(name, overflow="fold", justify="left" if name in words else "right")
    return table


def size_text(size_bytes: int) -> str:
    """Returns a size for people: `51.33 MB`, in powers of ten."""
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1e3:.1f} kB"
    return f"{size_bytes / 1e6:.2f} MB"
