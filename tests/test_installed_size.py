"""What an installation brings, by the requirements of this one's packages."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

MEGABYTE = 10**6


def requirements(name: str, extras: frozenset[str]) -> list[Requirement]:
    """Returns what a package requires with these extras, on this machine."""
    found = [Requirement(one) for one in metadata.requires(name) or []]
    chosen = [{"extra": extra} for extra in extras] or [{"extra": ""}]
    return [one for one in found if one.marker is None or any(map(one.marker.evaluate, chosen))]


def installed_with(*wanted: str) -> set[str]:
    """Returns the names of all packages that come with pbserve and these extras."""
    waiting, seen = declared(*wanted), set[tuple[str, frozenset[str]]]()
    while waiting:
        one = waiting.pop()
        key = (re.sub(r"[-_.]+", "-", one.name).lower(), frozenset(one.extras))
        if key not in seen:
            seen.add(key)
            waiting += requirements(*key)
    return {name for name, _ in seen}


def declared(*wanted: str) -> list[Requirement]:
    """Returns pbserve's own requirements, by pyproject.toml: what is installed may be older."""
    text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text()
    section = text[text.index("\ndependencies = [") : text.index("[project.scripts]")]
    lists = dict(re.findall(r"(?m)^([a-z0-9]+) = \[(.*?)\]$", section, re.DOTALL))
    named: list[str] = []
    names = ["dependencies", *wanted]
    while names:
        for text in re.findall(r'"([^"]+)"', re.sub(r"(?m)^\s*#.*$", "", lists[names.pop()])):
            ours = re.fullmatch(r"pbserve\[(\w+)\]", text)
            if ours:
                names.append(ours[1])
            else:
                named.append(text)
    return [Requirement(one) for one in named]


def size(names: set[str]) -> int:
    """Returns the bytes of the packages' files."""
    paths = [
        Path(str(file.locate()))
        for name in names
        for file in metadata.distribution(name).files or []
    ]
    return sum(path.stat().st_size for path in paths if path.is_file())


def test_a_client_is_small() -> None:
    names = installed_with()
    assert not names & {"tensorflow", "openvino", "aiohttp", "structlog", "tritonclient"}
    assert size(names) < 130 * MEGABYTE


def test_a_server_on_openvino_needs_no_tensorflow() -> None:
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    names = installed_with("openvino")
    assert "openvino" in names
    assert not names & {"tensorflow", "tensorflow-cpu", "keras", "tensorflow-serving-api"}
    assert size(names) < 450 * MEGABYTE


def test_the_server_has_tensorflow_and_not_its_clients_stubs() -> None:
    names = installed_with("server")
    assert "tensorflow" in names
    assert "tensorflow-serving-api" not in names
