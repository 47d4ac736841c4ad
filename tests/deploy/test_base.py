"""The base of the images is pinned in one place, by whoever can ask a registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.docker.base import CONTAINERFILE, base
from tests.support.overlays import ROOT

DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A copy of the Containerfile."""
    copy = tmp_path / "Containerfile"
    copy.write_text(CONTAINERFILE.read_text())
    return copy


def pin(recipe: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.docker.base", "--file", str(recipe), *options]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT
    )


def test_the_digest_that_a_registry_tells_is_behind_the_tag(recipe: Path) -> None:
    name, _ = base(recipe.read_text())
    done = pin(recipe, "--ask", f"sh -c 'test $0 = {name} && echo {DIGEST}' IMAGE")
    assert (done.returncode, done.stdout) == (0, f"{name}@{DIGEST}\n"), done.stderr
    assert base(recipe.read_text()) == (name, DIGEST)
    # Only that line, and again with a newer one.
    before = CONTAINERFILE.read_text().splitlines()
    changed = [line for line in recipe.read_text().splitlines() if line not in before]
    assert changed == [f"ARG BASE={name}@{DIGEST}"]
    newer = DIGEST.replace("0", "f")
    assert pin(recipe, "--ask", f"echo {newer}").returncode == 0
    assert base(recipe.read_text()) == (name, newer)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        ("no-such-program IMAGE", "install what can ask a registry"),
        ("sh -c 'echo unauthorized >&2; exit 1'", "gives no digest: unauthorized"),
        ("echo latest", "gives no digest: latest"),
        ("echo sha256:short", "gives no digest"),
    ],
)
def test_what_is_no_digest_changes_nothing(recipe: Path, ask: str, words: str) -> None:
    before = recipe.read_text()
    done = pin(recipe, "--ask", ask)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert recipe.read_text() == before


def test_a_tag_alone_is_told_apart_from_a_digest(recipe: Path) -> None:
    recipe.write_text("ARG BASE=python:3.12-slim-trixie\nFROM ${BASE}\n")
    done = pin(recipe, "--check")
    assert (done.returncode, "make pin-base" in done.stderr) == (1, True)
    recipe.write_text(f"ARG BASE=python:3.12-slim-trixie@{DIGEST}\nFROM ${{BASE}}\n")
    assert pin(recipe, "--check").returncode == 0


def test_the_base_is_debian_13_with_a_python_that_tensorflow_has() -> None:
    name, _ = base(CONTAINERFILE.read_text())
    assert name == "python:3.12-slim-trixie"
    # Without a host: whoever has a mirror names it. And make has no second opinion.
    assert "slim-trixie" not in (ROOT / "Makefile").read_text()
