"""Where artifacts live: `<store>/<model>/<version>/` with a graph and, last, its manifest.

A store is a URL for fsspec: a plain path, `memory://`, `s3://`, `gs://`. A directory without
a manifest does not exist for readers, and a version never changes once it is published.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from datetime import datetime, timezone
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from service_kit import errors
from service_kit.artifacts.manifest import Conversion, Manifest, published_as
from service_kit.artifacts.manifest_check import check_usable
from service_kit.artifacts.model_name import checked_model_name
from service_kit.store.artifact_files import ArtifactFiles, check_unchanged
from service_kit.store.cache import StoreCache
from service_kit.store.connection import StoreConnection
from service_kit.store.local_listing import HIGHEST_VERSION, StoreListing
from service_kit.store.local_mark import StoreMark
from service_kit.store.local_publisher import Claimed, LocalPublisher, Publisher
from service_kit.store.manifest_file import read_manifest
from service_kit.store.object_listing import ObjectListing
from service_kit.store.object_publisher import ObjectPublisher

# Versions that a retried request is looked for in.
_RECENT = 20


def _now() -> datetime:
    return datetime.now(timezone.utc)


class ArtifactStore:
    """Publishes, lists, reads and deletes artifacts below one URL.

    Every method raises `StoreUnavailable` when the store cannot be reached, read or written;
    all of them block.
    """

    def __init__(
        self,
        url: str,
        *,
        cache: StoreCache | None = None,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """Opens the store at `url`, and reaches nobody yet.

        Args:
            url: a path, or a URL for fsspec.
            cache: gets the graphs that are read; None: they are read from the store each time.
            clock: gives the time of publication, UTC.

        Raises:
            StoreUnavailable: fsspec has no file system for the URL.
        """
        self._connection = connection = StoreConnection(url)
        self.url = connection.url
        self._clock = clock
        self._files = ArtifactFiles(connection, cache)
        listing = StoreListing(connection.fs, connection.root)
        self._listing = ObjectListing(connection) if connection.is_object_store else listing
        self._publisher: Publisher = ObjectPublisher(connection)
        # Numbers that a publication cannot have.
        self._taken: Callable[[str], Collection[int]] = self._listing.versions
        self._mark: StoreMark | None = None
        if isinstance(connection.fs, LocalFileSystem):
            self._mark = StoreMark(Path(connection.root))
            self._publisher = LocalPublisher(Path(connection.root))
            self._taken = listing.claimed

    def create(self) -> None:
        """Makes the store's folder if it is not there, and clears away torn publications.

        A bucket is not made: it has rules that somebody has to think about.
        """
        with self._connection.reaching("create"):
            if not self._connection.is_object_store:
                self._connection.fs.makedirs(self._connection.root, exist_ok=True)
            if self._mark:
                self._mark.put()
            self._publisher.sweep()

    def require_mark(self) -> None:
        """Checks that a store on a file system has the mark of its maker.

        Raises:
            StoreUnavailable: it has not: most likely its volume is not mounted.
        """
        with self._connection.reaching("use"):
            if self._mark:
                self._mark.require()

    @property
    def is_unmarked(self) -> bool:
        """Whether the folder had no mark when it was last listed: it may be a mount point."""
        return self._mark is not None and not self._mark.was_seen

    def publish(
        self, model: str, conversion: Conversion, graph: Path, version: int | None = None
    ) -> Manifest:
        """Publishes an artifact, atomically for readers, and returns its manifest.

        Args:
            model: name to publish under.
            conversion: describes the files.
            graph: the graph file; the others lie beside it.
            version: to publish; None: the highest one plus 1.

        Raises:
            InvalidRequest: the model's name or the version is not allowed.
            VersionTaken: `version` is there already.
            ArtifactCorrupt: a file is not the one that `conversion` describes, or no reader could
                use what it describes.
        """
        checked_model_name(model)
        if version is not None and not 1 <= version <= HIGHEST_VERSION:
            raise errors.InvalidRequest(f"version {version} is not allowed: versions begin at 1")
        check_unchanged(graph.parent, conversion)
        with self._connection.reaching(f"publish model {model} in"):
            if self._mark:
                # An empty mount point would take it, and count versions from 1 again.
                self._mark.check()
            while True:
                self._connection.fs.invalidate_cache()
                number = version or max(self._taken(model), default=0) + 1
                if number > HIGHEST_VERSION:
                    raise errors.VersionTaken(f"model {model} has no higher version left")
                document = published_as(conversion, model, number, self._clock())
                check_usable(document, f"version {number} of model {model}")
                try:
                    published = self._publisher.publish(document, graph.parent)
                except Claimed:
                    if version is not None:
                        raise _version_taken(model, version) from None
                else:
                    self._check_arrived(published)
                    return published

    def _check_arrived(self, document: Manifest) -> None:
        """Takes back what went into an empty mount point while its mount was being lost."""
        if not self._mark:
            return
        try:
            self._mark.check()
        except FileNotFoundError:
            with contextlib.suppress(Exception):
                if self.manifest(document.model, document.version) == document:
                    self._publisher.remove(document.model, document.version)
            raise

    def check_free(self, model: str, version: int) -> None:
        """Checks, before any work is done, that a version could be published now.

        Raises:
            VersionTaken: it is there already.
        """
        if version in self.versions(model):
            raise _version_taken(model, version)

    def published(self) -> dict[str, dict[int, str]]:
        """Returns model -> version -> fingerprint of everything readers can see.

        The fingerprint changes when a version was deleted and its number used again. A folder that
        was a store and has lost its mark is not an empty store, but one that cannot be reached.
        """
        with self._connection.reaching("list"):
            found = self._listing.published()
            if self._mark:
                # Afterwards: a mount that is lost while it is listed has lost its mark by now.
                self._mark.check(may_be_another=bool(found))
            return found

    def versions(self, model: str) -> list[int]:
        """Returns a model's published versions in order; none for an unknown model."""
        checked_model_name(model)
        with self._connection.reaching("list"):
            self._connection.fs.invalidate_cache()
            return sorted(self._listing.versions(model))

    def manifest(self, model: str, version: int) -> Manifest:
        """Reads one manifest.

        Raises:
            ArtifactNotFound: there is none; the message names what exists.
            ArtifactCorrupt: it cannot be read, is not the one that was published, or describes
                another artifact.
        """
        checked_model_name(model)
        with self._connection.reaching("read"):
            try:
                return read_manifest(self._connection, model, version)
            except (FileNotFoundError, NotADirectoryError):
                raise self._not_found(model, version) from None

    def graph(self, document: Manifest) -> bytes:
        """Reads the graph of an artifact and verifies its size and SHA-256.

        Raises:
            ArtifactCorrupt: the file is absent or not the one that was published.
        """
        return self._files.graph(document)

    def fetch(self, document: Manifest, folder: Path) -> None:
        """Copies every file of an artifact into a local folder, each verified.

        Raises:
            ArtifactCorrupt: a file is absent or not the one that was published.
            ScratchUnavailable: the folder cannot be written.
        """
        for file in document.all_files:
            self._files.copy(document, file, folder / file.file_name)

    def requested(self, model: str, request_id: str) -> Manifest | None:
        """Returns the artifact that a request published, if it is one of the newest.

        Retries come soon: only the newest versions are looked at.
        """
        for version in sorted(self.versions(model), reverse=True)[:_RECENT]:
            # Deleted, or unreadable: neither is an answer to give twice.
            with contextlib.suppress(errors.ArtifactNotFound, errors.ArtifactCorrupt):
                document = self.manifest(model, version)
                if document.request_id == request_id:
                    return document
        return None

    def delete(self, model: str, version: int) -> None:
        """Removes an artifact, for readers at once.

        Raises:
            ArtifactNotFound: there is no such artifact; the message names what exists.
        """
        if version not in self.versions(model):
            raise self._not_found(model, version)
        with self._connection.reaching("delete from"):
            self._publisher.remove(model, version)

    def _not_found(self, model: str, version: int) -> errors.ArtifactNotFound:
        known = self.published()
        if model not in known:
            return errors.ArtifactNotFound(
                f"the store has no model {model}; it has {', '.join(sorted(known)) or 'none'}"
            )
        numbers = ", ".join(str(number) for number in sorted(known[model]))
        return errors.ArtifactNotFound(f"model {model} has no version {version}; it has {numbers}")


def _version_taken(model: str, version: int) -> errors.VersionTaken:
    return errors.VersionTaken(
        f"version {version} of model {model} exists already: choose another one, or leave it "
        "out to get the next"
    )
