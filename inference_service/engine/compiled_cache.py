"""What engines have compiled, kept between starts in a folder that only its owner can write.

What is in it is run, so nobody else may put something there. Files of other releases, processors or
settings have other names, and what was used longest ago is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import stat
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog

from service_kit import errors

_log = structlog.get_logger(__name__)
_SUFFIX = ".compiled"
# Of all files; a DenseNet-169 has 51 MB.
_MAX_BYTES = 2**30
_DIGEST_BYTES = 32
_LENGTH_BYTES = 8
# What decides which instructions a processor has.
_CPU_LINES = ("model name", "flags", "Features")


class CompiledCache:
    """Pieces of bytes by a key, in a folder. Blocks."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder if it is not there.

        Raises:
            InvalidRequest: it cannot be made, or others can write it.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.stat()
        except OSError as error:
            raise errors.InvalidRequest(
                f"choose another --engine-cache: {folder} cannot be used: {error.strerror}"
            ) from error
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise errors.InvalidRequest(
                "choose a folder for --engine-cache that only this user can write (a new one is "
                f"made so): what is in it is run, and others can write {folder}"
            )
        self._folder = folder

    def get(self, key: str) -> list[bytes] | None:
        """Returns the pieces that were kept under a key; None: there are none that are whole."""
        path = self._folder / f"{key}{_SUFFIX}"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("engine_cache_unusable", file=str(path), message=str(error))
            return None
        pieces = _unpack(content)
        if pieces is None:
            self.drop(key)
            return None
        # What was used last stays longest.
        with contextlib.suppress(OSError):
            os.utime(path)
        return pieces

    def put(self, key: str, pieces: Sequence[bytes]) -> None:
        """Keeps pieces under a key; a folder that is full or gone is no reason not to serve."""
        content = b"".join(_pack(pieces))
        try:
            self._make_room(len(content))
            descriptor, name = tempfile.mkstemp(dir=self._folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                Path(name).replace(self._folder / f"{key}{_SUFFIX}")
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            _log.warning("engine_cache_unusable", folder=str(self._folder), message=str(error))

    def drop(self, key: str) -> None:
        """Removes what is of no use under a key."""
        _log.warning("engine_cache_stale", key=key)
        with contextlib.suppress(OSError):
            (self._folder / f"{key}{_SUFFIX}").unlink(missing_ok=True)

    def _make_room(self, needed: int) -> None:
        kept = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                kept.append((found.st_mtime_ns, found.st_size, path))
        total = needed + sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= _MAX_BYTES:
                break
            path.unlink(missing_ok=True)
            total -= size


def cache_key(parts: Iterable[str]) -> str:
    """Returns the name of what depends on the parts, and on this processor."""
    digest = hashlib.sha256()
    for part in (*parts, _processor()):
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()


def _processor(cpus: Path = Path("/proc/cpuinfo")) -> str:
    lines = []
    with contextlib.suppress(OSError):
        # The first processor stands for all: its lines end with an empty one.
        first = cpus.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
        lines = [line for line in first.splitlines() if line.startswith(_CPU_LINES)]
    return "\n".join([platform.machine(), *lines])


def _pack(pieces: Sequence[bytes]) -> list[bytes]:
    body = [part for one in pieces for part in (len(one).to_bytes(_LENGTH_BYTES, "big"), one)]
    digest = hashlib.sha256()
    for part in body:
        digest.update(part)
    return [digest.digest(), *body]


def _unpack(content: bytes) -> list[bytes] | None:
    digest, body = content[:_DIGEST_BYTES], memoryview(content)[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        return None
    pieces, position = [], 0
    while position < len(body):
        start = position + _LENGTH_BYTES
        position = start + int.from_bytes(body[position:start], "big")
        pieces.append(bytes(body[start:position]))
    return pieces
