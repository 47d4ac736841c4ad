from __future__ import annotations

import gc
import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.protocols.open_inference.shared_memory import SharedMemory
from service_kit import errors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "shm"
    found.mkdir()
    (found / "images").write_bytes(bytes(range(100)))
    return found


@pytest.fixture
def memory(folder: Path) -> SharedMemory:
    return SharedMemory(folder)


def open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("key", ["images", "/images"])
def test_a_region_is_read_and_written_where_it_lies(
    memory: SharedMemory, folder: Path, key: str
) -> None:
    memory.register("r", key, 10, 50)
    place = memory.place("r", 5, 4)
    assert place.read() == bytes([15, 16, 17, 18])
    place.write(b"ab")
    assert (folder / "images").read_bytes()[14:19] == b"\x0eab\x11\x12"


def test_the_status_tells_what_was_registered(memory: SharedMemory) -> None:
    memory.register("a", "/images", 0, 100)
    memory.register("b", "images", 10, 5)
    assert [(r.name, r.key, r.offset, r.byte_size) for r in memory.regions("")] == [
        ("a", "/images", 0, 100),
        ("b", "images", 10, 5),
    ]
    assert [region.name for region in memory.regions("b")] == ["b"]
    with pytest.raises(errors.RegionNotFound, match="no shared memory region 'c'"):
        memory.regions("c")


def test_a_name_is_taken_until_it_is_unregistered(memory: SharedMemory) -> None:
    memory.register("a", "images", 0, 100)
    with pytest.raises(errors.RegionTaken, match="unregister it first"):
        memory.register("a", "images", 0, 50)
    memory.unregister("a")
    memory.unregister("never there")
    memory.register("a", "images", 0, 50)
    memory.register("b", "images", 0, 50)
    memory.unregister("")
    assert memory.regions("") == []


def test_descriptors_are_closed_with_their_last_user(memory: SharedMemory) -> None:
    before = open_files()
    memory.register("a", "images", 0, 100)
    place = memory.place("a", 0, 1)
    memory.unregister("a")
    # A request that has the place already goes on.
    assert place.read() == b"\0"
    assert open_files() == before + 1
    del place
    assert open_files() == before


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        ".",
        "..",
        "/..",
        "//images",
        "a/b",
        "../shm/images",
        "/../images",
        "a\0b",
        "x" * 256,
    ],
)
def test_no_key_leads_out_of_the_folder(memory: SharedMemory, key: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="is no key of shared memory"):
        memory.register("r", key, 0, 1)


@given(st.text(max_size=20))
def test_whatever_the_key_nothing_outside_is_opened(key: str) -> None:
    # The folder does not exist: whoever opens something has left it.
    memory = SharedMemory(Path("/nonexistent/folder"))
    with pytest.raises((errors.InvalidRequest, errors.RegionNotFound)):
        memory.register("r", key, 0, 1)


def test_what_is_no_memory_is_refused_at_once(memory: SharedMemory, folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(folder / "images")
    (folder / "dangling").symlink_to("/etc/passwd")
    for key in ("fifo", "folder", "link", "dangling"):
        before = open_files()
        with pytest.raises(errors.InvalidRequest, match=key):
            memory.register("r", key, 0, 1)
        assert open_files() == before
    with pytest.raises(errors.RegionNotFound, match="no shared memory 'absent'"):
        memory.register("r", "absent", 0, 1)


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, 101), (100, 1), (99, 2), (2**64 - 1, 2**64 - 1), (2**63, 1), (0, 2**64 - 1), (0, 0)],
)
def test_a_region_lies_within_its_memory(memory: SharedMemory, offset: int, size: int) -> None:
    with pytest.raises(errors.InvalidRequest, match="are no region: it has 100 bytes"):
        memory.register("r", "images", offset, size)


@pytest.mark.parametrize(("offset", "size"), [(0, 51), (50, 1), (2**63 - 1, 1), (0, 2**63 - 1)])
def test_a_place_lies_within_its_region(memory: SharedMemory, offset: int, size: int) -> None:
    memory.register("r", "images", 10, 50)
    with pytest.raises(errors.InvalidRequest, match="not within shared memory region 'r'"):
        memory.place("r", offset, size)


def test_a_tensor_may_not_be_of_any_size(folder: Path) -> None:
    memory = SharedMemory(folder, max_bytes=10)
    memory.register("r", "images", 0, 100)
    assert len(memory.place("r", 0, 10).read()) == 10
    with pytest.raises(errors.InvalidRequest, match="too many for one tensor: 10 are possible"):
        memory.place("r", 0, 11)


def test_memory_that_became_smaller_is_an_error_and_is_not_made_larger(
    memory: SharedMemory, folder: Path
) -> None:
    memory.register("r", "images", 0, 100)
    place = memory.place("r", 50, 50)
    os.truncate(folder / "images", 60)
    with pytest.raises(errors.InvalidRequest, match="smaller than when it was registered"):
        place.read()
    with pytest.raises(errors.InvalidRequest, match="smaller than when it was registered"):
        place.write(bytes(50))
    assert (folder / "images").stat().st_size == 60
    place.write(bytes(10))


def test_an_output_has_to_fit(memory: SharedMemory) -> None:
    memory.register("r", "images", 0, 100)
    with pytest.raises(errors.InvalidRequest, match="gives 3 bytes to an output of 4"):
        memory.place("r", 0, 3).write(b"abcd")


def test_memory_that_cannot_be_written_is_the_callers_error(
    memory: SharedMemory, folder: Path
) -> None:
    memory.register("r", "images", 0, 100)
    place = memory.place("r", 0, 10)
    # A limit on files stands for a full tmpfs.
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, limits[1]))
    try:
        with pytest.raises(errors.InvalidRequest, match="cannot be written"):
            place.write(bytes(10))
        with pytest.raises(errors.InvalidRequest, match="cannot be written: File too large"):
            memory.place("r", 10, 10).write(bytes(10))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_regions_are_bounded_in_number_and_name(folder: Path) -> None:
    memory = SharedMemory(folder, max_regions=2)
    memory.register("a", "images", 0, 1)
    memory.register("b", "images", 0, 1)
    with pytest.raises(errors.TooManyRegions, match="2 shared memory regions are registered"):
        memory.register("c", "images", 0, 1)
    memory.unregister("a")
    memory.register("c", "images", 0, 1)
    memory.unregister("")
    for name in ("", "x" * 256):
        with pytest.raises(errors.InvalidRequest, match="1 to 255 characters"):
            memory.register(name, "images", 0, 1)
