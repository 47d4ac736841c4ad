from __future__ import annotations

import sys

import pytest

from exporter_service.architectures.entry_points import (
    is_plugin,
    plugin_entry_point,
    plugin_names,
)
from service_kit import errors
from tests.support.plug_ins import Install


def test_plugins_are_known_without_their_import(install: Install) -> None:
    modules = [install(name, "net", "1 / 0") for name in ("tiny", "acme/tiny")]
    assert plugin_names() == ["acme/tiny", "tiny"]
    assert is_plugin("acme/tiny")
    assert not is_plugin("acme")
    assert not set(modules) & set(sys.modules)


def test_a_package_installed_later_is_found(install: Install) -> None:
    assert not is_plugin("tiny")
    install("tiny", "net", "")
    assert is_plugin("tiny")


def test_two_packages_with_one_name_are_refused(install: Install) -> None:
    first, second = install("tiny", "net", ""), install("tiny", "net", "")
    with pytest.raises(errors.Unconvertible, match=f"{first}:net of .* and {second}:net of"):
        plugin_entry_point("tiny")


def test_a_name_with_other_characters_is_refused(install: Install) -> None:
    install("tiny net", "net", "")
    with pytest.raises(errors.Unconvertible, match=r"'tiny net' .* needs another name"):
        plugin_entry_point("tiny net")


def test_an_unknown_name_is_not_found() -> None:
    with pytest.raises(errors.ArchitectureNotFound, match="'tiny'"):
        plugin_entry_point("tiny")
