"""Every promise of the page on reliability names tests, and they exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.markdown import ROOT

PAGE = ROOT / "docs" / "reliability.md"
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text())))


def promises() -> list[str]:
    """Returns the rows of the tables whose last column names tests."""
    text = PAGE.read_text().split("## Not promised")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [row for row in rows if not row.startswith(("| promise", "| ---"))]


def scenarios_in(path: Path) -> set[str]:
    found = ast.walk(ast.parse(path.read_text()))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in found if isinstance(node, kinds) and node.name[:5] == "test_"}


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_promise_is_held_by_a_test_that_exists(path: str, name: str) -> None:
    assert name in scenarios_in(ROOT / path)


@pytest.mark.parametrize("row", promises(), ids=lambda row: row[2:60])
def test_every_promise_names_a_test(row: str) -> None:
    assert re.search(r"`tests/[\w/]+\.py::\w+` \|$", row)


def test_every_scenario_of_faults_holds_a_promise() -> None:
    held = {(path, name) for path, name in NAMED}
    scenarios = {
        (str(path.relative_to(ROOT)), name)
        for path in (ROOT / "tests" / "faults").glob("test_*.py")
        for name in scenarios_in(path)
    }
    # What a scenario needs besides is no promise.
    others = {
        ("tests/faults/test_fuzz.py", "test_every_target_has_a_seed"),
        ("tests/faults/test_restarts.py", "test_what_a_killed_server_served_is_served_again"),
    }
    assert scenarios - held == others
