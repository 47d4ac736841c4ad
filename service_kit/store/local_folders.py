"""Hidden folders in a store, which are swept away when the process that made them is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

# Of publications, and of what is being deleted. Hidden: no model name begins with a dot.
TORN = (".publishing-", ".deleting-")
# A publication copies some files; one of another machine that is this old belongs to a process
# that is gone.
_TORN_AFTER_SECONDS = 3600.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@contextlib.contextmanager
def new_folder(root: Path, prefix: str) -> Iterator[Path]:
    """Makes a hidden folder below `root`, and holds a lock on it, wherever it is moved to.

    Whoever is killed holds no lock any more, which tells what is left over from what is being
    written. Its name says on which machine that lock can be relied on.
    """
    while (made := _locked(root / f"{prefix}{_machine()}-{uuid.uuid4().hex}")) is None:
        continue
    folder, descriptor = made
    try:
        yield folder
    finally:
        os.close(descriptor)


def sweep_folders(root: Path) -> None:
    """Removes the hidden folders below `root` whose makers are gone."""
    for path in root.iterdir():
        if path.name.startswith(TORN):
            with contextlib.suppress(OSError):
                _sweep(path)


def _locked(folder: Path) -> tuple[Path, int] | None:
    """Returns a new folder and the descriptor of its lock; None: somebody sweeps it away."""
    folder.mkdir()
    try:
        descriptor = _open(folder)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        # Where there are no locks, the folder's age decides.
        return folder, descriptor
    if folder.exists():
        return folder, descriptor
    os.close(descriptor)
    return None


def _sweep(folder: Path) -> None:
    # Whoever deletes does not mind help.
    if folder.name.startswith(TORN[1]):
        shutil.rmtree(folder, ignore_errors=True)
        return
    descriptor = _open(folder)
    try:
        try:
            # Raises while its maker lives.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            has_locks = folder.name.startswith(f"{TORN[0]}{_machine()}-")
        except BlockingIOError:
            return
        except OSError:
            has_locks = False
        if has_locks or time.time() - folder.stat().st_mtime > _TORN_AFTER_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _machine() -> str:
    """Returns a word that no other machine has: locks may hold on one machine only."""
    try:
        return _BOOT_ID.read_text()[:8]
    except OSError:
        return "unknown"
