"""Graphs of an object store in a folder of this machine, each downloaded once.

A file's name is its SHA-256, and whoever reads one computes that again: what is in the folder
need not be trusted. Processes share it by locks on its files, which end with their processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from service_kit import errors

_log = structlog.get_logger(__name__)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PART = ".part-"
# Downloads of one graph wait for each other this long, then go on together: whoever has the turn
# may hang.
_PATIENCE_SECONDS = 300.0
_PAUSE_SECONDS = 0.1


class StoreCache:
    """A folder with the files that were used last, of so many bytes together. Blocks."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Uses a folder, which is made when it is needed.

        Args:
            folder: for this and no other use; several processes may share it.
            max_bytes: of all files; one that is larger is downloaded, read, and removed.
        """
        self._folder = folder
        self._max_bytes = max_bytes

    def content(
        self, sha256: str, size_bytes: int, download: Callable[[Path], None]
    ) -> bytes | None:
        """Returns a file's bytes, whose digest is verified; None: the folder is of no use now.

        Args:
            sha256: of the file, in hexadecimal.
            size_bytes: of the file.
            download: writes the file to a path, verified; may raise `PbserveError`, which passes.
        """
        if not _DIGEST.fullmatch(sha256):
            return None
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self._read(sha256, size_bytes)
            if found is None:
                with self._turn(sha256):
                    found = self._read(sha256, size_bytes)
                    if found is None:
                        found = self._download(sha256, size_bytes, download)
        except (OSError, errors.ScratchUnavailable) as error:
            # Full, read-only, without locks: no reason not to serve.
            _log.warning("store_cache_unusable", folder=str(self._folder), message=str(error))
            return None
        return found

    def _download(self, sha256: str, size: int, download: Callable[[Path], None]) -> bytes:
        self._make_room(size)
        with self._part() as part:
            download(part)
            content = part.read_bytes()
            if hashlib.sha256(content).hexdigest() != sha256:
                raise OSError("it does not give back what was written")
            if size <= self._max_bytes:
                part.replace(self._folder / sha256)
            else:
                _log.warning("store_cache_too_small", bytes=self._max_bytes, file_bytes=size)
        return content

    def _read(self, sha256: str, size: int) -> bytes | None:
        """Returns what is there and right; removes what is not."""
        path = self._folder / sha256
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            # While it is held, nobody makes room with this file.
            fcntl.flock(file, fcntl.LOCK_SH)
            if os.fstat(descriptor).st_size == size:
                content = file.read()
                if hashlib.sha256(content).hexdigest() == sha256:
                    # What was used last stays longest. The time of reading is not kept everywhere.
                    with contextlib.suppress(OSError):
                        os.utime(path)
                    return content
            _log.warning("store_cache_corrupt", file=str(path))
            path.unlink(missing_ok=True)
        return None

    @contextlib.contextmanager
    def _turn(self, sha256: str) -> Iterator[None]:
        """Lets one download of a file happen at a time, among all processes."""
        # A fixed number of files, so that none has to be removed, which would be a race.
        path = self._folder / f".turn-{sha256[:2]}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end = time.monotonic() + _PATIENCE_SECONDS
            while not _try_lock(descriptor) and time.monotonic() < end:
                time.sleep(_PAUSE_SECONDS)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _part(self) -> Iterator[Path]:
        """Yields a new file that is locked while it is used, and removes what is left of it."""
        while True:
            descriptor, name = tempfile.mkstemp(prefix=_PART, dir=self._folder)
            if _try_lock(descriptor) and os.fstat(descriptor).st_nlink:
                break
            # Taken for what a killed process left, in the moment before it was locked.
            os.close(descriptor)
        path = Path(name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def _make_room(self, needed: int) -> None:
        """Removes what was used longest ago, until `needed` bytes more are within the bound."""
        kept = []
        for path in self._folder.iterdir():
            is_part = path.name.startswith(_PART)
            if is_part and _remove_if_unused(path):
                continue
            if is_part or _DIGEST.fullmatch(path.name):
                with contextlib.suppress(FileNotFoundError):
                    found = path.stat()
                    kept.append((found.st_mtime_ns, found.st_size, path, is_part))
        total = needed + sum(size for _, size, _, _ in kept)
        for _, size, path, is_part in sorted(kept):
            if total <= self._max_bytes:
                break
            if not is_part and _remove_if_unused(path):
                total -= size


def default_cache_folder() -> Path:
    """Returns where downloads go when nobody says: `~/.cache/pbserve`, or below the temporary one.

    Raises:
        InvalidRequest: there is neither.
    """
    try:
        return Path("~/.cache/pbserve").expanduser()
    except RuntimeError:
        # A user without a home, as in containers.
        try:
            return Path(tempfile.gettempdir()) / f"pbserve-cache-{os.getuid()}"
        except FileNotFoundError as error:
            raise errors.InvalidRequest(
                f"there is no folder for downloads ({error.strerror}): give --store-cache"
            ) from error


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_if_unused(path: Path) -> bool:
    """Removes a file that nobody has locked; returns whether it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        if not _try_lock(descriptor):
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)
