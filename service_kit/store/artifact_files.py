"""The files of an artifact, read from its store and verified."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

from service_kit import errors
from service_kit.artifacts.digest import sha256_of
from service_kit.artifacts.manifest import ArtifactFile, Conversion, GraphFile, Manifest
from service_kit.store.cache import StoreCache
from service_kit.store.connection import StoreConnection

# No store says these.
_DISK_IS_FULL = frozenset([errno.ENOSPC, errno.EDQUOT])


class ArtifactFiles:
    """Reads what a manifest names; every byte is verified before it is returned."""

    def __init__(self, connection: StoreConnection, cache: StoreCache | None) -> None:
        """Reads the connection's store, graphs through `cache` if there is one."""
        self._connection = connection
        self._cache = cache

    def graph(self, document: Manifest) -> bytes:
        """Returns the graph, from the cache if it is there.

        Raises:
            ArtifactCorrupt: it is absent or not the one that was published.
            StoreUnavailable: it cannot be read.
        """
        file = document.graph
        content = None
        if self._cache is not None:
            content = self._cache.content(
                file.sha256, file.size_bytes, lambda path: self.copy(document, file, path)
            )
        return self._read(document, file) if content is None else content

    def copy(self, document: Manifest, file: GraphFile | ArtifactFile, target: Path) -> None:
        """Copies one file to `target` piece by piece, and verifies the copy.

        Raises:
            ArtifactCorrupt: it is absent or not the one that was published.
            StoreUnavailable: it cannot be read.
            ScratchUnavailable: `target` cannot be written.
        """
        place = _place(document, file)
        try:
            # First, while what goes wrong is not taken for something that the store has said.
            target.touch()
            size = self._copy(f"{self._connection.root}/{place}", place, file, target)
            digest = sha256_of(target) if size == file.size_bytes else ""
        except OSError as error:
            raise errors.ScratchUnavailable(
                f"cannot write {file.size_bytes} bytes into {target.parent}: {error.strerror}"
            ) from error
        _check(place, file, size, digest)

    def _copy(self, source: str, place: str, file: GraphFile | ArtifactFile, target: Path) -> int:
        """Copies if the size is right, and returns the size."""
        fs = self._connection.fs
        with self._connection.reaching("read"):
            try:
                size: int = fs.size(source)
                # A file that was replaced by a huge one must not fill the disk.
                if size == file.size_bytes:
                    fs.get_file(source, str(target))
                    size = target.stat().st_size
            except (FileNotFoundError, IsADirectoryError):
                raise _missing(place) from None
            except OSError as error:
                if error.errno in _DISK_IS_FULL:
                    raise errors.ScratchUnavailable(
                        f"cannot write {file.size_bytes} bytes into {target.parent}: "
                        f"{error.strerror}"
                    ) from error
                raise
        return size

    def _read(self, document: Manifest, file: GraphFile | ArtifactFile) -> bytes:
        place = _place(document, file)
        path = f"{self._connection.root}/{place}"
        with self._connection.reaching("read"):
            try:
                self._check_kind(path, place)
                content: bytes = self._connection.fs.cat_file(path)
            except (FileNotFoundError, IsADirectoryError):
                raise _missing(place) from None
        _check(place, file, len(content), hashlib.sha256(content).hexdigest())
        return content

    def _check_kind(self, path: str, place: str) -> None:
        """Refuses pipes and devices, whose readers might never come back."""
        if not self._connection.is_object_store and self._connection.fs.info(path)["type"] not in (
            "file",
            "directory",
        ):
            raise errors.ArtifactCorrupt(f"publish it again: {place} is no file")


def check_unchanged(folder: Path, conversion: Conversion) -> None:
    """Compares files that are to be published with their description.

    Raises:
        ArtifactCorrupt: one is another.
    """
    for file in conversion.all_files:
        if sha256_of(folder / file.file_name) != file.sha256:
            raise errors.ArtifactCorrupt(
                f"{file.file_name} changed between conversion and publication; convert again"
            )


def _place(document: Manifest, file: GraphFile | ArtifactFile) -> str:
    names = [document.model, str(document.version), document.folder, file.file_name]
    return "/".join(filter(None, names))


def _missing(place: str) -> errors.ArtifactCorrupt:
    return errors.ArtifactCorrupt(f"{place} is missing; publish it again")


def _check(place: str, expected: GraphFile | ArtifactFile, size: int | None, digest: str) -> None:
    if size != expected.size_bytes:
        raise errors.ArtifactCorrupt(
            f"{place} has {size} bytes, its manifest says {expected.size_bytes}; publish it again"
        )
    if digest != expected.sha256:
        raise errors.ArtifactCorrupt(
            f"{place} has SHA-256 {digest}, its manifest says {expected.sha256}; publish it again"
        )
