"""Everything that can be applied, each by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.overlays import COMBINATIONS, KSERVE, OVERLAYS, Built, combined, kserve, overlay

_DEPLOYED = [*OVERLAYS, *("+".join(parts) for parts in COMBINATIONS)]


def _built(name: str, tmp_path_factory: pytest.TempPathFactory) -> Built:
    if "+" in name:
        folder: Path = tmp_path_factory.mktemp("combined") / name
        folder.mkdir()
        return combined(name.split("+"), folder)
    return kserve(name) if name in KSERVE else overlay(name)


@pytest.fixture(scope="session", params=_DEPLOYED)
def deployed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An overlay, or components that somebody might put together."""
    return _built(request.param, tmp_path_factory)


@pytest.fixture(scope="session", params=[*_DEPLOYED, *KSERVE])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The same, and what is for KServe."""
    return _built(request.param, tmp_path_factory)
