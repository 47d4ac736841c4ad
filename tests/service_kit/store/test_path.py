from __future__ import annotations

from pathlib import Path

import pytest

from service_kit.store.path import is_place_of


@pytest.mark.parametrize(
    ("store", "path", "expected"),
    [
        ("s3://bucket/models", "s3://bucket/models/m", True),
        ("s3://bucket/models/", "s3://bucket/models/m/", True),
        ("s3://bucket/models", "s3://bucket/models/n", False),
        ("s3://bucket/models", "s3://other/models/m", False),
        ("s3://bucket/models", "/models/m", False),
        ("/srv/models", "/srv/models/m", True),
        ("/srv/models/", "file:///srv/models/m", True),
        ("file:///srv/models", "/srv/models/m", True),
        ("/srv/models", "/srv/models", False),
        ("/srv/models", "/srv/models/m/1", False),
        ("/srv/models", "/srv/models/n/../m", True),
        ("/srv/models", "/srv/models/m/../../m", False),
        ("/srv/models", "srv/models/m", False),
        ("/srv/models", "s3://srv/models/m", False),
        ("/srv/models", "/srv/mod\0els/m", False),
        ("/srv/models", "", False),
        ("models", "models/m", False),
    ],
)
def test_a_path_is_compared_as_what_it_means(store: str, path: str, *, expected: bool) -> None:
    assert is_place_of("m", store, path) is expected


def test_a_relative_store_and_links_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    assert is_place_of("m", "./models", str(tmp_path / "models" / "m"))
    assert is_place_of("m", "models", str(tmp_path / "link" / "m"))
    assert is_place_of("m", str(tmp_path / "link"), str(tmp_path / "models" / "m"))
