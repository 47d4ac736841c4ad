from __future__ import annotations

import os
from pathlib import Path

import pytest

from inference_service.engine import compiled_cache
from inference_service.engine.compiled_cache import CompiledCache, cache_key
from service_kit import errors


def test_what_was_put_is_there_for_the_next_process(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "cache"
    CompiledCache(folder).put("k", [b"one", b"", b"three" * 1000])
    assert CompiledCache(folder).get("k") == [b"one", b"", b"three" * 1000]
    assert CompiledCache(folder).get("other") is None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in folder.iterdir()] == ["k.compiled"]


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[:-1], lambda c: b"", lambda c: c[:40] + b"x" + c[41:], lambda c: c + b"x"],
)
def test_what_is_not_whole_is_removed(tmp_path: Path, damage: object) -> None:
    cache = CompiledCache(tmp_path / "cache")
    cache.put("k", [b"one" * 100])
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    assert cache.get("k") is None
    assert not file.exists()


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(errors.InvalidRequest, match="only this user can write"):
        CompiledCache(folder)


def test_a_folder_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(errors.InvalidRequest, match="only this user can write"):
        CompiledCache(tmp_path / "cache")


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "cache"):
        with pytest.raises(errors.InvalidRequest, match="choose another --engine-cache"):
            CompiledCache(place)


def test_what_was_used_longest_ago_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_cache, "_MAX_BYTES", 350)
    cache = CompiledCache(tmp_path / "cache")
    for age, key in ((30, "a"), (20, "b"), (10, "c")):
        cache.put(key, [b"x" * 60])
        os.utime(tmp_path / "cache" / f"{key}.compiled", (1e9 - age, 1e9 - age))
    assert cache.get("a")
    cache.put("d", [b"x" * 60])
    assert cache.get("b") is None
    assert cache.get("a")
    assert cache.get("c")


def test_a_folder_that_cannot_be_written_any_more_costs_nothing(tmp_path: Path) -> None:
    cache = CompiledCache(tmp_path / "cache")
    (tmp_path / "cache").rmdir()
    cache.put("k", [b"one"])
    assert cache.get("k") is None


def test_keys_tell_their_parts_apart() -> None:
    assert cache_key(["ab", "c"]) != cache_key(["a", "bc"])
    assert cache_key(["ab"]) == cache_key(["ab"])
