from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service_kit import errors
from service_kit.store.artifact_store import ArtifactStore
from service_kit.store.cache import StoreCache, default_cache_folder
from tests.support.manifests import conversion, graph_file


class Origin:
    """What is downloaded, and how often."""

    def __init__(self, content: bytes) -> None:
        self.content, self.downloads = content, 0
        self.sha256 = hashlib.sha256(content).hexdigest()

    def download(self, path: Path) -> None:
        self.downloads += 1
        path.write_bytes(self.content)

    def through(self, cache: StoreCache) -> bytes | None:
        return cache.content(self.sha256, len(self.content), self.download)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "some" / "cache"


def files(folder: Path) -> dict[str, int]:
    """Returns name -> size of what is in a cache, without its locks."""
    return {p.name: p.stat().st_size for p in folder.iterdir() if not p.name.startswith(".turn-")}


def test_a_file_is_downloaded_once(folder: Path) -> None:
    origin = Origin(b"graph")
    for _ in range(3):
        assert origin.through(StoreCache(folder, 100)) == b"graph"
    assert origin.downloads == 1
    assert files(folder) == {origin.sha256: 5}


def test_nobody_else_may_look_into_a_cache_that_was_made(folder: Path) -> None:
    Origin(b"graph").through(StoreCache(folder, 100))
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", [b"grapH", b"", b"graph and more"])
def test_a_file_that_is_not_what_its_name_says_is_downloaded_anew(
    folder: Path, content: bytes
) -> None:
    origin, cache = Origin(b"graph"), StoreCache(folder, 100)
    origin.through(cache)
    (folder / origin.sha256).write_bytes(content)
    assert origin.through(cache) == b"graph"
    assert origin.through(cache) == b"graph"
    assert origin.downloads == 2


def test_what_was_used_longest_ago_makes_room(folder: Path) -> None:
    cache = StoreCache(folder, 10)
    first, second, third = (Origin(letter * 4) for letter in (b"a", b"b", b"c"))
    for age, origin in ((300, first), (200, second)):
        origin.through(cache)
        used = (folder / origin.sha256).stat().st_mtime - age
        os.utime(folder / origin.sha256, (used, used))
    first.through(cache)
    third.through(cache)
    assert files(folder).keys() == {first.sha256, third.sha256}
    assert sum(files(folder).values()) <= 10


def test_what_is_being_read_stays(folder: Path) -> None:
    cache = StoreCache(folder, 6)
    first, second = Origin(b"aaaa"), Origin(b"bbbb")
    first.through(cache)
    with (folder / first.sha256).open("rb") as reading:
        fcntl.flock(reading, fcntl.LOCK_SH)
        assert second.through(cache) == b"bbbb"
        assert first.sha256 in files(folder)
    third = Origin(b"cccc")
    third.through(cache)
    assert files(folder).keys() == {third.sha256}


def test_a_file_that_is_larger_than_the_cache_is_returned_and_not_kept(folder: Path) -> None:
    origin, cache = Origin(b"graph"), StoreCache(folder, 4)
    for downloads in (1, 2):
        assert origin.through(cache) == b"graph"
        assert origin.downloads == downloads
    assert files(folder) == {}


def test_threads_that_want_one_file_wait_for_one_download(folder: Path) -> None:
    origin = Origin(b"graph")
    begun, may_end = threading.Event(), threading.Event()
    caches = [StoreCache(folder, 100) for _ in range(4)]

    def slow(path: Path) -> None:
        begun.set()
        assert may_end.wait(30)
        origin.download(path)

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(cache.content, origin.sha256, 5, slow) for cache in caches]
        assert begun.wait(30)
        may_end.set()
        assert {one.result(30) for one in asked} == {b"graph"}
    assert origin.downloads == 1


def test_nobody_waits_for_ever_for_a_download_that_hangs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service_kit.store.cache._PATIENCE_SECONDS", 0.0)
    origin = Origin(b"graph")

    def hangs(path: Path) -> None:
        assert origin.through(StoreCache(folder, 100)) == b"graph"
        path.write_bytes(b"graph")

    assert StoreCache(folder, 100).content(origin.sha256, 5, hangs) == b"graph"
    assert files(folder) == {origin.sha256: 5}


PROCESS = """
import sys
from pathlib import Path
from service_kit.store.cache import StoreCache
folder, sha256, log, number = sys.argv[1:]
def download(path):
    with open(log, "a") as file:
        file.write(f"{sha256}\\n")
    path.write_bytes(bytes([int(number)]) * 1000)
for _ in range(50):
    content = StoreCache(Path(folder), 10_000).content(sha256, 1000, download)
    assert content == bytes([int(number)]) * 1000
"""


def test_processes_share_a_cache(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "downloads"
    digests = {number: hashlib.sha256(bytes([number]) * 1000).hexdigest() for number in (1, 2)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(folder), digests[number], str(log), str(number)]
        )
        for number in (1, 2, 1, 2)
    ]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert sorted(log.read_text().split()) == sorted(digests.values())


def test_what_a_killed_download_left_is_removed_and_what_is_under_way_is_not(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / ".part-dead").write_bytes(b"half")
    alive = folder / ".part-alive"
    alive.write_bytes(b"half")
    with alive.open("rb") as downloading:
        fcntl.flock(downloading, fcntl.LOCK_EX)
        origin = Origin(b"graph")
        origin.through(StoreCache(folder, 100))
    assert files(folder).keys() == {".part-alive", origin.sha256}


def test_a_download_that_fails_leaves_nothing(folder: Path) -> None:
    def fails(path: Path) -> None:
        path.write_bytes(b"half")
        raise errors.StoreUnavailable("gone")

    with pytest.raises(errors.StoreUnavailable):
        StoreCache(folder, 100).content("ab" * 32, 5, fails)
    assert files(folder) == {}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: folder.parent.write_bytes(b"a file"),
        lambda folder: (folder / Origin(b"graph").sha256).mkdir(parents=True),
    ],
)
def test_a_folder_that_cannot_be_used_is_no_reason_not_to_load(
    folder: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(folder)
    assert Origin(b"graph").through(StoreCache(folder, 100)) is None


def test_a_full_disk_is_no_reason_not_to_load(folder: Path) -> None:
    def full(path: Path) -> None:
        raise errors.ScratchUnavailable("No space left on device")

    assert StoreCache(folder, 100).content("ab" * 32, 5, full) is None
    assert files(folder) == {}


def test_a_digest_that_is_none_names_no_file(folder: Path) -> None:
    assert StoreCache(folder, 100).content("../../etc/passwd", 5, Origin(b"x").download) is None
    assert not folder.exists()


def test_a_store_reads_through_its_cache(
    memory_store: ArtifactStore, folder: Path, tmp_path: Path
) -> None:
    document = memory_store.publish("m", conversion(), graph_file(tmp_path))
    cached = ArtifactStore(memory_store.url, cache=StoreCache(folder, 100))
    assert cached.graph(document) == b"graph"
    fs = memory_store._connection.fs
    (graph,) = [path for path in fs.find("/pbserve-tests") if path.endswith(".pb")]
    fs.pipe_file(graph, b"grapH")
    assert cached.graph(document) == b"graph"
    (folder / document.graph.sha256).write_bytes(b"grapH")
    with pytest.raises(errors.ArtifactCorrupt, match="SHA-256"):
        cached.graph(document)
    fs.pipe_file(graph, b"a much longer graph")
    with pytest.raises(errors.ArtifactCorrupt, match="19 bytes, its manifest says 5"):
        cached.graph(document)
    fs.rm_file(graph)
    with pytest.raises(errors.ArtifactCorrupt, match="missing"):
        cached.graph(document)
    assert files(folder) == {}


def test_the_default_folder_is_the_users_or_a_temporary_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_cache_folder() == Path("/home/somebody/.cache/pbserve")

    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert default_cache_folder().name == f"pbserve-cache-{os.getuid()}"
