from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Install = Callable[..., str]
_NUMBERS = itertools.count()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a package of one module for the length of a test.

    `install("tiny", "net", code)` declares the plug-in `tiny` as `net` of a module with that
    code, and returns the module's name.
    """
    site = tmp_path / "site"
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
        (described / "entry_points.txt").write_text(
            f"[pbserve.architectures]\n{name} = {module}:{target}\n"
        )
        return module

    yield add
    for module in installed:
        sys.modules.pop(module, None)
