from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_service.engine.devices import parse_devices
from inference_service.engine.engine_settings import EngineSettings
from inference_service.engine.installed import GROUP, find_engine, installed_engines
from service_kit import errors
from tests.support.plug_ins import Install, installing

SETTINGS = EngineSettings(parse_devices("cpu:2"), 2)
CODE = """
from tests.support.engines import MeanEngines
def make(settings):
    return MeanEngines(len(settings.request.devices))
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    with installing(GROUP, tmp_path / "site", monkeypatch) as install:
        yield install


def test_a_package_brings_an_engine_with_its_version(install: Install) -> None:
    install("mean", "make", CODE)
    found = find_engine("mean")
    assert (found.name, found.version) == ("mean", "1.0")
    assert len(found.make(SETTINGS).devices()) == 2


@pytest.mark.parametrize("name", ["tensorflow", "openvino", "auto"])
def test_nobody_takes_the_names_of_ours(install: Install, name: str) -> None:
    module = install(name, "make", CODE)
    assert module not in str(installed_engines().get(name))
    assert all(one.version != "1.0" for one in installed_engines().values())


@pytest.mark.parametrize("code", ["raise ImportError('gone')", "", "make = 3"])
def test_one_that_cannot_be_loaded_names_its_package(install: Install, code: str) -> None:
    module = install("mean", "make", code)
    with pytest.raises(errors.InvalidRequest, match=f"repair or uninstall.*'mean' .{module}:make"):
        find_engine("mean").make(SETTINGS)


def test_an_unknown_name_lists_those_that_are_there(install: Install) -> None:
    install("mean", "make", CODE)
    with pytest.raises(errors.InvalidRequest, match=r"choose one of auto, mean, .*'nothing'"):
        find_engine("nothing")


def test_one_of_ours_that_is_not_installed_says_how_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for name in ("tensorflow", "openvino"):
        with pytest.raises(errors.InvalidRequest, match=r"pip install 'pbserve\[openvino\]'"):
            find_engine(name)
    assert not {"tensorflow", "openvino"} & installed_engines().keys()
