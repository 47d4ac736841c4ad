"""A disk that is full, or takes nothing: publications fail in words, and nothing is left over."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from service_kit import errors
from service_kit.store.artifact_store import ArtifactStore
from tests.support.manifests import conversion, graph_file

MEBIBYTE = 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def test_a_full_disk_keeps_what_it_has_and_takes_the_next_when_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    store = ArtifactStore(str(small_disk))
    store.create()
    contents = [bytes([number]) * MEBIBYTE for number in range(6)]

    def fill() -> None:
        for content in contents:
            store.publish("m", conversion(content), graph_file(tmp_path, content))

    with pytest.raises(errors.StoreUnavailable, match="No space left"):
        fill()
    published = len(store.versions("m"))
    assert 1 <= published < len(contents)
    for number in range(published):
        assert store.graph(store.manifest("m", number + 1)) == contents[number]
    assert {path.name for path in small_disk.iterdir()} == {".pbserve-store", "m"}
    store.delete("m", 1)
    following = store.publish("m", conversion(contents[0]), graph_file(tmp_path, contents[0]))
    assert following.version == published + 1


def test_a_disk_that_becomes_read_only_is_read_and_takes_nothing(
    small_disk: Path, tmp_path: Path
) -> None:
    store = ArtifactStore(str(small_disk))
    store.create()
    graph = graph_file(tmp_path)
    store.publish("m", conversion(), graph)
    remount(small_disk, "ro")
    for call in (lambda: store.publish("m", conversion(), graph), lambda: store.delete("m", 1)):
        with pytest.raises(errors.StoreUnavailable, match="Read-only file system"):
            call()
    # Who starts now reads, too.
    store.create()
    assert store.graph(store.manifest("m", 1)) == b"graph"
    remount(small_disk, "rw")
    assert store.publish("m", conversion(), graph).version == 2
