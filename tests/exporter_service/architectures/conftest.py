from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.plug_ins import Install, installing


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a package of one module; see `installing`."""
    with installing("pbserve.architectures", tmp_path / "site", monkeypatch) as install:
        yield install
