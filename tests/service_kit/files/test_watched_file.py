from __future__ import annotations

import os
from pathlib import Path

import pytest
import structlog

from service_kit import errors
from service_kit.files.strict_yaml import parse_yaml
from service_kit.files.watched_file import WatchedFile

Watch = WatchedFile[int]
TIMES = iter(range(10**9, 2 * 10**9))


def parse(text: str, where: str) -> int:
    """Takes `limit: N`."""
    values = parse_yaml(text, where)
    limit = values.get("limit") if isinstance(values, dict) else values
    if type(limit) is not int:
        raise errors.InvalidRequest(f"{where}: {limit!r} is no number")
    return limit


def watched(path: Path) -> Watch:
    return WatchedFile(path, parse, "limits file")


def write(path: Path, limit: int | str) -> None:
    path.write_text(f"limit: {limit}\n")
    # Two writes may be within one tick of the file system's clock.
    now = next(TIMES)
    os.utime(path, (now, now))


def look_twice(watch: Watch) -> int | None:
    assert watch.refresh() is None
    return watch.refresh()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "limits.yaml", 1)
    return tmp_path / "limits.yaml"


def test_a_change_is_read_once(path: Path) -> None:
    watch = watched(path)
    assert watch.load() == 1
    assert watch.refresh() is None
    write(path, 2)
    assert look_twice(watch) == 2
    assert watch.refresh() is None
    assert watch.trouble == ""


def test_a_file_that_is_being_written_is_read_when_it_is_whole(path: Path) -> None:
    watch = watched(path)
    watch.load()
    path.write_text("")
    assert watch.refresh() is None
    path.write_text("limit")
    assert watch.refresh() is None
    write(path, 2)
    assert look_twice(watch) == 2
    assert watch.trouble == ""


def test_a_bad_file_changes_nothing_and_says_why_until_it_is_corrected(path: Path) -> None:
    watch = watched(path)
    watch.load()
    for _ in range(2):
        write(path, "many")
        assert look_twice(watch) is None
        assert "is no number" in watch.trouble
        assert str(path) in watch.trouble
    # What is in force is no news.
    write(path, 1)
    assert look_twice(watch) is None
    assert watch.trouble == ""
    write(path, 3)
    assert look_twice(watch) == 3


def test_a_trouble_is_logged_once(path: Path) -> None:
    watch = watched(path)
    watch.load()
    with structlog.testing.capture_logs() as logs:
        for limit in ("many", "many", "none", "none"):
            write(path, limit)
            for _ in range(3):
                watch.refresh()
    assert [(one["event"], one["log_level"]) for one in logs] == [("file_refused", "warning")] * 2


def test_the_same_bad_text_is_not_parsed_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watched(path)
    watch.load()
    write(path, "many")
    look_twice(watch)
    monkeypatch.setattr(watch, "_parse", None)
    assert watch.refresh() is None
    path.unlink()
    look_twice(watch)
    assert "No such file" in watch.trouble
    write(path, "many")
    look_twice(watch)
    assert "is no number" in watch.trouble


@pytest.mark.parametrize("value", ["!!bool maybe", "!!int ''", "!!float ''", "!!map x"])
def test_tags_that_do_not_fit_change_nothing(path: Path, value: str) -> None:
    watch = watched(path)
    watch.load()
    write(path, value)
    assert look_twice(watch) is None
    assert "tags are not read" in watch.trouble


def test_a_missing_file_changes_nothing_and_comes_back(path: Path) -> None:
    watch = watched(path)
    watch.load()
    path.unlink()
    assert look_twice(watch) is None
    assert "cannot be read: No such file" in watch.trouble
    write(path, 4)
    assert look_twice(watch) == 4


def test_a_link_that_is_turned_to_another_folder_is_followed(tmp_path: Path) -> None:
    """As Kubernetes updates config maps: ..data is a link that is replaced as a whole."""
    for name, limit in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "limits.yaml", limit)
        os.utime(tmp_path / name / "limits.yaml", (5, 5))
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "limits.yaml").symlink_to("data/limits.yaml")
    watch = watched(tmp_path / "limits.yaml")
    assert watch.load() == 1
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(tmp_path / "data")
    assert look_twice(watch) == 2


def test_what_is_no_readable_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"limit: \xe9")
    (tmp_path / "huge").write_text("#" * (2**20 + 1))
    for name, words in (
        ("folder", "is no regular file"),
        ("pipe", "is no regular file"),
        ("latin", "can't decode byte"),
        ("huge", "larger than 1 MiB"),
        ("nowhere", "No such file"),
        ("nul\0", "null byte"),
    ):
        with pytest.raises(errors.InvalidRequest, match=words):
            watched(tmp_path / name).load()
        watch = watched(tmp_path / name)
        watch.refresh()
        assert watch.refresh() is None
        assert words in watch.trouble
