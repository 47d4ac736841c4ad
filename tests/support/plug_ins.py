"""Packages of one module that declare an entry point, for the length of a test."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Install = Callable[..., str]
_NUMBERS = itertools.count()


@contextlib.contextmanager
def installing(group: str, site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Yields what installs a package until the block ends.

    `install("tiny", "net", code)` declares `tiny` in the group, as `net` of a module with that
    code, and returns the module's name.
    """
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    installed = []

    def add(name: str, target: str, code: str) -> str:
        module = f"plugin_module_{next(_NUMBERS)}"
        installed.append(module)
        (site / f"{module}.py").write_text(code)
        described = site / f"{module}-1.0.dist-info"
        described.mkdir()
        (described / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n"
        )
        (described / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:{target}\n")
        return module

    yield add
    for module in installed:
        sys.modules.pop(module, None)
