from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service_kit.store.artifact_store import ArtifactStore
from service_kit.store.local_folders import TORN, new_folder, sweep_folders
from service_kit.store.local_mark import MARK

_PUBLISHES_FOR_EVER = """
import sys, pathlib
from service_kit.store.local_folders import TORN, new_folder
with new_folder(pathlib.Path(sys.argv[1]), TORN[0]) as folder:
    (folder / "frozen_model.pb").write_bytes(b"half")
    print(folder, flush=True)
    sys.stdin.read()
"""


def _make(root: Path, name: str, age: float) -> None:
    (root / name).mkdir()
    (root / name / "manifest.json").touch()
    when = time.time() - age
    os.utime(root / name, (when, when))


def test_what_a_killed_process_was_writing_is_swept_when_the_next_one_starts(
    store: ArtifactStore,
) -> None:
    root = Path(store.url)
    with subprocess.Popen(
        [sys.executable, "-c", _PUBLISHES_FOR_EVER, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout
        folder = Path(writer.stdout.readline().strip())
        store.create()
        assert folder.is_dir(), "it is being written"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    store.create()
    assert [path.name for path in root.iterdir()] == [MARK]
    assert store.published() == {}


def test_what_was_being_deleted_is_swept_at_once(tmp_path: Path) -> None:
    _make(tmp_path, f"{TORN[1]}0", 0)
    sweep_folders(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_machines_publication_is_swept_when_it_is_old(tmp_path: Path) -> None:
    _make(tmp_path, f"{TORN[0]}other000-1", 7200)
    _make(tmp_path, f"{TORN[0]}other000-2", 0)
    sweep_folders(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{TORN[0]}other000-2"]


def test_where_there_are_no_locks_the_age_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with new_folder(tmp_path, TORN[0]) as folder:
        sweep_folders(tmp_path)
        assert folder.is_dir()
        os.utime(folder, (0, 0))
    sweep_folders(tmp_path)
    assert not folder.exists()


def test_a_folder_that_was_swept_before_it_was_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open
    lost: list[Path] = []

    def lose_the_first(path: Path, flags: int) -> int:
        if not lost:
            lost.append(path)
            Path(path).rmdir()
        return opened(path, flags)

    monkeypatch.setattr(os, "open", lose_the_first)
    with new_folder(tmp_path, TORN[0]) as folder:
        assert folder.is_dir()
        assert [folder] != lost
