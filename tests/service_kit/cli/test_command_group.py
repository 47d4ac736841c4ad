from __future__ import annotations

from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from service_kit import __version__, errors
from service_kit.cli.command_group import command_line
from service_kit.cli.console import one_line_errors
from service_kit.cli.exit_codes import ExitCode

app = command_line("Does things.")


@app.command()
def do(
    what: str,
    times: Annotated[int, typer.Option(min=1)] = 1,
    fit: Annotated[str, typer.Option()] = "",
) -> None:
    """Does it."""
    with one_line_errors():
        raise {
            "find": errors.ModelNotFound("no model x"),
            "wait": errors.QueueFull("full", retry_after=1.5),
            "steer": errors.InvalidRequest("bad \x1b[2J name\nline"),
            "stop": KeyboardInterrupt(),
            "exit": typer.Exit(ExitCode.PARTLY),
        }[what]


@app.command()
def nothing() -> None:
    """Does nothing."""


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments, prog_name="tool")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nothing",), 0, ""),
        (("do", "find"), 4, "error: no model x\n"),
        (("do", "wait"), 3, "error: full (try again in 1.5 s)\n"),
        (("do", "steer"), 1, "error: bad \\x1b[2J name\\nline\n"),
        (("do", "stop"), 130, "interrupted\n"),
        (("do", "exit"), 5, ""),
        (("do",), 2, "error: Missing argument 'what'; see `tool do --help`\n"),
        (("do", "find", "--nope"), 2, "error: No such option: --nope; see `tool do --help`\n"),
        (
            ("nothin",),
            2,
            "error: No such command 'nothin'. Did you mean 'nothing'?; see `tool --help`\n",
        ),
    ],
)
def test_whatever_goes_wrong_is_one_line_and_an_exit_code(
    arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = run(*arguments)
    assert (done.exit_code, done.stdout, done.stderr) == (code, "", message)


def test_a_value_out_of_range_is_one_line_that_names_its_option() -> None:
    done = run("do", "find", "--times", "0")
    assert (done.exit_code, done.stderr.count("\n")) == (ExitCode.USAGE, 1)
    assert "'--times'" in done.stderr


def test_without_arguments_it_shows_its_help_with_the_exit_codes() -> None:
    done = run()
    assert done.exit_code == ExitCode.USAGE
    assert "Does things." in done.stdout
    assert "Exit codes:" in done.stdout
    assert done.stderr == ""
    assert run("--help").exit_code == 0
    assert run("do", "--help").exit_code == 0


def test_the_version_is_printed_and_nothing_else_happens() -> None:
    done = run("--version")
    assert (done.exit_code, done.stdout) == (ExitCode.OK, f"tool {__version__}\n")
