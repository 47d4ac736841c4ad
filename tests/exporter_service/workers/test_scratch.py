from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from exporter_service.workers.scratch import scratch_folder, sweep_scratch
from service_kit import errors


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_gone_afterwards(temporary: Path) -> None:
    with scratch_folder() as folder:
        (folder / "graph.pb").touch()
        assert folder.parent == temporary
    assert list(temporary.iterdir()) == []


def test_only_what_dead_exporters_left_is_swept(temporary: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    dead = int(done.stdout)
    names = [
        f"pbexport-{dead}-a",
        f"pbexport-{os.getpid()}-b",
        f"pbexport-{os.getppid()}-c",
        "other",
    ]
    for name in names:
        (temporary / name / "x").mkdir(parents=True)
    sweep_scratch()
    assert sorted(path.name for path in temporary.iterdir()) == sorted(names[2:])


def test_a_system_without_room_is_a_clear_error(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(temporary / "gone"))
    with pytest.raises(errors.ScratchUnavailable, match="set TMPDIR"), scratch_folder():
        pass
