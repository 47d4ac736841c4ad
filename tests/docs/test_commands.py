"""Every command and option of `pbserve` and `pbexport` in the documentation exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from exporter_service.cli.app import app as pbexport
from inference_service.cli.app import app as pbserve
from tests.support.markdown import ROOT, SHELL, blocks, code_in_lines, commands, pages, readmes

APPS: dict[str, Any] = {
    "pbexport": typer.main.get_command(pbexport),
    "pbserve": typer.main.get_command(pbserve),
}
FILES = (*readmes(), *pages())
# Options of other programs that the documentation speaks of.
OTHERS = {"--grpc-port", "--metrics-port", "--model-control-mode", "--port"}
# What typer gives to the program itself.
COMPLETION = {"--install-completion", "--show-completion"}


def parsed(words: list[str]) -> str:
    """Parses a call as the program would, without running it; returns the command's name."""
    app = APPS[words[0]]
    # The program's own words go to the command; a context alone would want to run it.
    with app.make_context(words[0], words[1:], resilient_parsing=True) as outer:
        name, command, rest = app.resolve_command(outer, words[1:])
        assert command, f"no such command: {words[1]}"
        command.make_context(name, rest, parent=outer).close()
    return str(name)


def in_blocks() -> list[Any]:
    return [
        pytest.param(words, id=f"{block}: {' '.join(words)[:60]}")
        for path in FILES
        for block in blocks(path)
        if block.language in SHELL
        for words in commands(block.text)
        # `...` is for the reader to fill in.
        if not {"--help", "...", *COMPLETION} & {*words} and len(words) > 1
    ]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PBSERVE_ADDRESS", "PBEXPORT_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("words", in_blocks())
def test_a_command_can_be_typed(words: list[str]) -> None:
    parsed(words)


def options_of(command: Any) -> set[str]:
    return (
        {
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("--")
        }
        | COMPLETION
        | {"--help"}
    )


ALL_OPTIONS = {
    option for app in APPS.values() for one in app.commands.values() for option in options_of(one)
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_sentences_name_exists(path: Path) -> None:
    """Code such as `pbserve load MODEL [3]`, `pbserve load|unload`, or `--poll`."""
    for code in code_in_lines(path):
        program, _, rest = code.partition(" ")
        named = {*re.findall(r"(?<!\S)\[?(--[a-z][a-z-]*)", code)}
        if Path(program).name in APPS:
            known = APPS[Path(program).name].commands
            names = [one for one in rest.partition(" ")[0].split("|") if one.isidentifier()]
            assert {*names} <= known.keys(), code
            for chosen in ([known[name]] for name in names) if names else [known.values()]:
                assert named <= {option for one in chosen for option in options_of(one)}, code
        elif code.startswith("--"):
            assert named <= ALL_OPTIONS | OTHERS, code


@pytest.mark.parametrize(
    "words",
    [
        ["pbserve", "unknown"],
        ["pbserve", "models", "--unknown"],
        ["pbexport", "convert", "m", "--checkpoint", "c"],
        ["pbserve", "predict", "m", "--top", "many"],
        ["pbserve", "show"],
    ],
)
def test_what_cannot_be_typed_is_found(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|missing|valid integer"):
        parsed(words)


def test_commands_are_found() -> None:
    assert len(in_blocks()) > 15
    plain = "x=1 .venv/bin/pbserve a --b \\\n c | jq .  # no\npbexport d && pbserve e; ls"
    assert [*commands(plain)] == [["pbserve", "a", "--b", "c"], ["pbexport", "d"], ["pbserve", "e"]]


def test_what_a_command_prints_is_no_command() -> None:
    assert [*commands("$ pbserve serve\npbserve listening on 127.0.0.1:8500")] == [
        ["pbserve", "serve"]
    ]


@pytest.mark.parametrize("program", APPS)
def test_help_cuts_no_name_at_80_columns(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, command in APPS[program].commands.items():
        done = CliRunner().invoke(
            {"pbexport": pbexport, "pbserve": pbserve}[program],
            [name, "--help"],
            env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"},
        )
        assert "…" not in done.stdout, name
        for option in options_of(command) - COMPLETION:
            assert option in done.stdout, (name, option)


@pytest.mark.parametrize("program", APPS)
def test_options_of_serve_have_a_topic_and_variables_by_their_names(program: str) -> None:
    for option in APPS[program].commands["serve"].params:
        if option.name != "help":
            assert option.rich_help_panel, option.name
            assert option.envvar == f"{program.upper()}_{option.name.upper()}"
            assert not option.show_envvar
