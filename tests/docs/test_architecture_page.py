"""The page of how it works lists every folder of the packages, and names no module in vain."""

from __future__ import annotations

import re

import pytest

from tests.support.markdown import ROOT

PACKAGES = ("service_kit", "exporter_service", "inference_service")
PAGE = (ROOT / "docs" / "architecture.md").read_text()
# `folder/module`, or `folder/` with a slash at its end.
_PATH = re.compile(r"`([a-z_]+(?:/[a-z_]+)*/?)`")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_has_its_line(package: str) -> None:
    table = PAGE.split(f"| folder of `{package}` |")[1].split("\n\n")[0]
    listed = re.findall(r"^\| `([a-z_/]+)/` \|", table, re.MULTILINE)
    folders = [
        str(path.parent.relative_to(ROOT / package))
        for path in (ROOT / package).rglob("__init__.py")
        if path.parent != ROOT / package
    ]
    assert sorted(listed) == sorted(folders)


def test_every_path_is_there() -> None:
    paths = {path for path in _PATH.findall(PAGE) if "/" in path}
    assert len(paths) > 50
    missing = [
        path
        for path in sorted(paths)
        if not any(
            (ROOT / package / path).is_dir()
            if path.endswith("/")
            else (ROOT / package / f"{path}.py").is_file()
            for package in PACKAGES
        )
    ]
    assert not missing
