"""Every piece of Python in the documentation runs, against real services with the digits."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.conftest import Services
from tests.support.markdown import ROOT, SHELL, Block, blocks, commands, pages, readmes

pytestmark = pytest.mark.slow

PYTHON = {"python", "py"}
EXAMPLES = {
    str(path.relative_to(ROOT / "examples")): path.name
    for path in (ROOT / "examples").rglob("*.py")
    if path.parent.name != "plugin"
}
# What each prints with the digits of TensorFlow 1.15 served, and which service it asks.
ASKED = {
    "convert_digits.py": ("exporter", ("publishes the artifact", "digits version ", "450 nodes")),
    "clients/pbserve_client.py": ("inference", ("it is a 2", "0.98990 of 297 images are right")),
}


def python_blocks(path: Path) -> list[Block]:
    return [block for block in blocks(path) if block.language in PYTHON]


WITH_PYTHON = [
    path
    for path in (*readmes(), *pages())
    if any(not block.is_snippet for block in python_blocks(path))
]


def ran(arguments: list[str], folder: Path) -> str:
    # Examples name files from the top of a clone, and may write beside them.
    for name in ("tests", "examples"):
        (folder / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("path", WITH_PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_python_of_a_page_runs(path: Path, services: Services, tmp_path: Path) -> None:
    """Blocks of one page follow each other, as a reader would type them."""
    own = [block for block in python_blocks(path) if not block.is_snippet]
    script = tmp_path / "page.py"
    script.write_text(services.in_place_of_the_defaults("\n".join(block.text for block in own)))
    ran([str(script)], tmp_path)


@pytest.mark.parametrize(
    "page",
    ["first-steps.md", pytest.param("convert/meta-graph.md", marks=pytest.mark.slow)],
)
def test_the_commands_of_a_page_run(
    page: str, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PBEXPORT_ADDRESS", services.exporter)
    monkeypatch.setenv("PBSERVE_ADDRESS", services.inference)
    packages = {"pbexport": "exporter_service", "pbserve": "inference_service"}
    typed = [
        words
        for block in blocks(ROOT / "docs" / page)
        if block.language in SHELL
        for words in commands(block.text)
    ]
    # `up` serves until somebody ends it; inference_service/cli/test_up_command.py runs it.
    typed = [words for words in typed if words[1] != "up"]
    assert len(typed) > 1
    for number, (program, *words) in enumerate(typed):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert ran(["-m", packages[program], *words], folder)


@pytest.mark.parametrize("name", sorted(ASKED))
def test_an_example_says_what_its_page_says(name: str, services: Services, tmp_path: Path) -> None:
    service, words = ASKED[name]
    printed = ran([f"examples/{name}", getattr(services, service)], tmp_path)
    for word in words:
        assert word in printed


def test_every_example_is_run() -> None:
    others = [test.read_text() for test in (ROOT / "tests").rglob("test_*.py")]
    others.remove(Path(__file__).read_text())
    tested = {path for path, name in EXAMPLES.items() if any(name in text for text in others)}
    assert {*EXAMPLES} == ASKED.keys() | tested


def test_snippets_are_parts_of_programs() -> None:
    """A page shows code of its own, which is run, or a file's; not a mixture."""
    for path in (*readmes(), *pages()):
        for block in python_blocks(path):
            lines = block.text.strip().splitlines()
            assert not block.is_snippet or len(lines) == 1, block
            if not block.is_snippet:
                ast.parse(block.text)
