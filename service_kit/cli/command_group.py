"""A command line whose usage errors are one line, too."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from service_kit import __version__
from service_kit.cli.console import print_error, print_line
from service_kit.cli.exit_codes import ExitCode

# Of typer's errors for wrong options, the public one is the narrowest.
_UsageError: Any = typer.BadParameter.__mro__[1]
_EPILOG = (
    "Exit codes: 0 done, 1 refused or failed, 2 wrong options, 3 unavailable (try again), 4 not "
    "found, 5 failed in part, 130 interrupted."
)


def command_line(purpose: str) -> typer.Typer:
    """Returns a command line without commands yet, for the purpose that its help states."""
    app = typer.Typer(
        cls=CommandGroup,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help=purpose,
        epilog=_EPILOG,
    )
    app.callback()(_take_version)
    return app


def _print_version(context: typer.Context, asked: bool) -> None:  # noqa: FBT001 - typer's signature
    if asked:
        print_line(f"{context.info_name} {__version__}")
        raise typer.Exit


def _take_version(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


class CommandGroup(TyperGroup):
    """Prints what is wrong with the options, and where help is, instead of a box."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - typer's signature
        windows_expand_args: bool = True,  # noqa: FBT001, FBT002
        **extra: Any,
    ) -> Any:
        """Runs a command; ends the program with its exit code."""
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except _UsageError as error:
            if not standalone_mode:
                raise
            _print_usage_error(error)
            sys.exit(ExitCode.USAGE)
        if not standalone_mode:
            return code
        # A command that is told to exit returns its code, any other nothing.
        sys.exit(code if isinstance(code, int) else ExitCode.OK)


def _print_usage_error(error: Any) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":
        # Its message is the help itself, which is on the screen.
        return
    text = " ".join(str(error.format_message()).split()).rstrip(".")
    where = f"; see `{error.ctx.command_path} --help`" if error.ctx else ""
    print_error(f"{text}{where}")
