from __future__ import annotations

import json
import sys
from datetime import datetime, timezone

import pytest
import typer

from service_kit import errors
from service_kit.artifacts.manifest import published_as
from service_kit.cli.console import one_line_errors, plain, print_json, size_text
from service_kit.cli.exit_codes import ExitCode
from tests.support.manifests import conversion


def test_dataclasses_become_plain_json(capsys: pytest.CaptureFixture[str]) -> None:
    created = datetime(2026, 1, 2, tzinfo=timezone.utc)
    print_json(published_as(conversion(cards=2), "m", 4, created))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    document = json.loads(lines[0])
    assert document["version"] == 4
    assert document["towers"][1]["scope"] == "Card_1"
    assert document["moving_average"]["mode"] == "AUTO"
    assert document["created_at"] == "2026-01-02T00:00:00+00:00"


def test_numbers_stay_numbers() -> None:
    assert plain({"a": (1, 2.5, None, True)}) == {"a": [1, 2.5, None, True]}


def test_an_expected_error_is_one_line_and_an_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as caught, one_line_errors():
        raise errors.ModelNotFound("there is no model [bold]x[/], " + "long " * 50)
    assert caught.value.exit_code == ExitCode.NOT_FOUND
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert "[bold]x[/]" in output.err


@pytest.mark.parametrize(("size", "text"), [(1500, "1.5 kB"), (51_330_000, "51.33 MB")])
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert size_text(size) == text


def test_numbers_that_json_lacks_are_strings(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [float("nan"), float("inf"), -float("inf")], "b": "ä"})
    line = capsys.readouterr().out
    assert json.loads(line) == {"a": ["NaN", "Infinity", "-Infinity"], "b": "ä"}
    assert line.isascii()


def test_what_would_steer_a_terminal_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), one_line_errors():
        raise errors.CheckpointNotFound("a\nb\x1b[31m")
    assert capsys.readouterr().err == "error: a\\nb\\x1b[31m\n"


def test_a_result_that_cannot_be_written_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, one_line_errors():
        raise OSError(28, "No space left on device")
    sys.stdout = sys.__stdout__
    assert caught.value.exit_code == ExitCode.FAILED
    assert capsys.readouterr().err == "error: cannot write the result: No space left on device\n"
