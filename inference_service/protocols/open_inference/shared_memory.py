"""Regions of POSIX shared memory that clients on this machine have registered.

Regions are read and written through descriptors and never mapped: a client that shrinks its memory
gets an error for its request, where touching a mapping would end the server by SIGBUS.
"""

from __future__ import annotations

import os
import stat
import weakref
from dataclasses import dataclass, field
from pathlib import Path

from service_kit import errors

# Where Linux keeps POSIX shared memory (shm_overview(7)).
FOLDER = Path("/dev/shm")  # noqa: S108 - not a temporary file of ours
_LONGEST_NAME = 255


class _Memory:
    """An open file of shared memory, closed when nothing refers to it any more."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes `offset` to `offset + byte_size` of the memory called `key`."""

    name: str
    key: str
    offset: int
    byte_size: int
    memory: _Memory = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Place:
    """A range inside a region, for one tensor; it keeps the memory open, registered or not."""

    region: Region
    offset: int
    byte_size: int

    def read(self) -> bytes:
        """Returns a copy of the bytes. Blocks for about a millisecond for each 8 MB.

        Raises:
            InvalidRequest: the client has made its memory smaller than it was.
        """
        content = os.pread(self.region.memory.descriptor, self.byte_size, self._position)
        if len(content) < self.byte_size:
            raise self._shrunk()
        return content

    def write(self, content: bytes) -> None:
        """Writes bytes to the beginning of the range. Blocks like `read`.

        Raises:
            InvalidRequest: they are more than the range has; the memory became smaller, or is full.
        """
        self.check(len(content))
        descriptor = self.region.memory.descriptor
        # Writing beyond the end would make the client's memory larger.
        if os.fstat(descriptor).st_size < self._position + len(content):
            raise self._shrunk()
        try:
            written = os.pwrite(descriptor, content, self._position)
        except OSError as error:
            raise self._unwritable(error.strerror or "it failed") from None
        if written < len(content):
            raise self._unwritable("it is full")

    def check(self, size: int) -> None:
        """Checks that so many bytes have room; raises as `write`."""
        if size > self.byte_size:
            raise errors.InvalidRequest(
                f"shared memory region {self.region.name!r} gives {self.byte_size} bytes to an "
                f"output of {size}: give it as many"
            )

    @property
    def _position(self) -> int:
        return self.region.offset + self.offset

    def _shrunk(self) -> errors.InvalidRequest:
        return errors.InvalidRequest(
            f"shared memory {self.region.key!r} of region {self.region.name!r} is smaller than "
            "when it was registered: register what there is"
        )

    def _unwritable(self, reason: str) -> errors.InvalidRequest:
        return errors.InvalidRequest(
            f"shared memory {self.region.key!r} of region {self.region.name!r} cannot be written: "
            f"{reason}"
        )


class SharedMemory:
    """The registered regions, by name. Belongs to the event loop; nothing here blocks."""

    def __init__(
        self,
        folder: Path = FOLDER,
        *,
        max_regions: int = 256,
        max_bytes: int = 256 * 2**20,
    ) -> None:
        """Begins empty.

        Args:
            folder: that of the memory; no key leads out of it.
            max_regions: that may be registered; each keeps a file open.
            max_bytes: of one input, which is copied when its request comes.
        """
        self._folder = folder
        self._max_regions = max_regions
        self._max_bytes = max_bytes
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Opens memory that a client has created.

        Args:
            name: of the region, in requests.
            key: of the memory, as for `shm_open`: a file name, with or without a slash before it.
            offset: of the region in the memory.
            byte_size: of the region, at least 1.

        Raises:
            RegionTaken: there is a region of that name.
            RegionNotFound: there is no such memory.
            OutsideRoots: the server's user may not open it.
            InvalidRequest: name, key or range are impossible, or the key is no regular file.
            TooManyRegions: there are as many regions as there may be.
        """
        if not 0 < len(name) <= _LONGEST_NAME:
            raise errors.InvalidRequest(f"a region has a name of 1 to {_LONGEST_NAME} characters")
        if name in self._regions:
            raise errors.RegionTaken(
                f"shared memory region {name!r} is registered already: unregister it first"
            )
        if len(self._regions) >= self._max_regions:
            raise errors.TooManyRegions(
                f"{self._max_regions} shared memory regions are registered, and no more are "
                "possible: unregister some"
            )
        memory = self._open_memory(_file_name(key))
        size = os.fstat(memory.descriptor).st_size
        if byte_size < 1 or offset + byte_size > size:
            raise errors.InvalidRequest(
                f"bytes {offset} to {offset + byte_size} of shared memory {key!r} are no region: "
                f"it has {size} bytes"
            )
        self._regions[name] = Region(name, key, offset, byte_size, memory)

    def unregister(self, name: str) -> None:
        """Forgets a region, or all for ""; one that is not there is no error, as for Triton.

        Requests that have it already read and write it still.
        """
        if name:
            self._regions.pop(name, None)
        else:
            self._regions.clear()

    def regions(self, name: str) -> list[Region]:
        """Returns a region, or all for "".

        Raises:
            RegionNotFound: there is none of that name.
        """
        return [self._region(name)] if name else list(self._regions.values())

    def place(self, name: str, offset: int, byte_size: int) -> Place:
        """Returns a range of a region.

        Raises:
            RegionNotFound: there is no such region.
            InvalidRequest: the range leads out of it, or is too large for a tensor.
        """
        region = self._region(name)
        if offset + byte_size > region.byte_size:
            raise errors.InvalidRequest(
                f"bytes {offset} to {offset + byte_size} are not within shared memory region "
                f"{name!r}: it has {region.byte_size}"
            )
        if byte_size > self._max_bytes:
            raise errors.InvalidRequest(
                f"{byte_size} bytes of shared memory region {name!r} are too many for one tensor: "
                f"{self._max_bytes} are possible"
            )
        return Place(region, offset, byte_size)

    def _region(self, name: str) -> Region:
        if name not in self._regions:
            raise errors.RegionNotFound(
                f"there is no shared memory region {name[:_LONGEST_NAME]!r}: register it first"
            )
        return self._regions[name]

    def _open_memory(self, file_name: str) -> _Memory:
        path = self._folder / file_name
        # A FIFO without its other side, or a link to anywhere, must neither wait nor lead away.
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        try:
            memory = _Memory(os.open(path, flags))
        except FileNotFoundError:
            raise errors.RegionNotFound(f"there is no shared memory {file_name!r} here") from None
        except PermissionError:
            raise errors.OutsideRoots(
                f"shared memory {file_name!r} may not be opened by the server's user"
            ) from None
        except OSError as error:
            raise errors.InvalidRequest(
                f"shared memory {file_name!r} cannot be opened: {error.strerror}"
            ) from None
        if not stat.S_ISREG(os.fstat(memory.descriptor).st_mode):
            raise errors.InvalidRequest(f"{file_name!r} is no shared memory, but a special file")
        return memory


def _file_name(key: str) -> str:
    name = key.removeprefix("/")
    size = len(name.encode(errors="replace"))
    if not 0 < size <= _LONGEST_NAME or name in (".", "..") or "/" in name or "\0" in name:
        raise errors.InvalidRequest(
            f"{key[:_LONGEST_NAME]!r} is no key of shared memory: it is a file name, with one "
            "slash before it or none"
        )
    return name
