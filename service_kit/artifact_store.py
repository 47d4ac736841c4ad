"""Where artifacts live: `<store>/<model>/<version>/` with a graph and, last, its manifest.

A store is a URL for fsspec: a plain path, `memory://`, `s3://`, `gs://`. A directory without
a manifest does not exist for readers, and a version never changes once it is published.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from service_kit import errors, manifest_codec
from service_kit.digest import sha256_of
from service_kit.manifest import (
    MANIFEST_NAME,
    ArtifactFile,
    Conversion,
    GraphFile,
    Manifest,
    published_as,
)
from service_kit.manifest_check import check_usable
from service_kit.model_name import checked_model_name
from service_kit.publishing import Claimed, LocalPublisher, ObjectPublisher, Publisher
from service_kit.store_listing import HIGHEST_VERSION, StoreListing

# Versions that a retried request is looked for in.
_RECENT = 20


def _now() -> datetime:
    return datetime.now(timezone.utc)


class ArtifactStore:
    """Publishes, lists, reads and deletes artifacts below one URL.

    Every method raises `StoreUnavailable` when the store cannot be reached, read or written;
    all of them block.
    """

    def __init__(self, url: str, *, clock: Callable[[], datetime] = _now) -> None:
        """Opens the store at `url`; `clock` gives the time of publication, UTC.

        Raises:
            StoreUnavailable: fsspec has no file system for the URL.
        """
        self.url = url
        try:
            if not url:
                raise ValueError("its URL is empty")  # noqa: TRY301
            self._fs, self._root = fsspec.core.url_to_fs(url)
        # Each file system checks its URL, and raises, in its own way.
        except Exception as error:
            raise errors.StoreUnavailable(f"cannot open the store {url}: {error}") from error
        self._listing = StoreListing(self._fs, self._root)
        self._clock = clock
        self._publisher: Publisher = (
            LocalPublisher(Path(self._root))
            if isinstance(self._fs, LocalFileSystem)
            else ObjectPublisher(self._fs, self._root)
        )

    def create(self) -> None:
        """Makes the store's folder if it is not there, and clears away torn publications."""
        with self._reaching("create"):
            self._fs.makedirs(self._root, exist_ok=True)
            self._publisher.sweep()

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
        _check_files(graph.parent, conversion)
        with self._reaching(f"publish model {model} in"):
            while True:
                self._fs.invalidate_cache()
                number = version or max(self._listing.claimed(model), default=0) + 1
                if number > HIGHEST_VERSION:
                    raise errors.VersionTaken(f"model {model} has no higher version left")
                document = published_as(conversion, model, number, self._clock())
                check_usable(document, f"version {number} of model {model}")
                try:
                    self._publisher.publish(document, graph.parent)
                except Claimed:
                    if version is None:
                        continue
                    raise _taken(model, version) from None
                return document

    def check_free(self, model: str, version: int) -> None:
        """Checks, before any work is done, that a version could be published now.

        Raises:
            VersionTaken: it is there already.
        """
        if version in self.versions(model):
            raise _taken(model, version)

    def published(self) -> dict[str, dict[int, str]]:
        """Returns model -> version -> fingerprint of everything readers can see.

        The fingerprint changes when a version was deleted and its number used again.
        """
        with self._reaching("list"):
            return self._listing.published()

    def versions(self, model: str) -> list[int]:
        """Returns a model's published versions in order; none for an unknown model."""
        checked_model_name(model)
        with self._reaching("list"):
            self._fs.invalidate_cache()
            return sorted(self._listing.versions(model))

    def manifest(self, model: str, version: int) -> Manifest:
        """Reads one manifest.

        Raises:
            ArtifactNotFound: there is none; the message names what exists.
            ArtifactCorrupt: it cannot be read, or describes another artifact.
        """
        checked_model_name(model)
        place = f"{model}/{version}/{MANIFEST_NAME}"
        with self._reaching("read"):
            try:
                text: bytes = self._fs.cat_file(f"{self._root}/{place}")
            except (FileNotFoundError, NotADirectoryError):
                raise self._not_found(model, version) from None
        document = manifest_codec.from_json(text, place)
        if (document.model, document.version) != (model, version):
            raise errors.ArtifactCorrupt(
                f"{place} describes version {document.version} of model {document.model}"
            )
        return document

    def graph(self, document: Manifest) -> bytes:
        """Reads the graph of an artifact and verifies its size and SHA-256.

        Raises:
            ArtifactCorrupt: the file is absent or not the one that was published.
        """
        return self._content(document, document.graph)

    def fetch(self, document: Manifest, folder: Path) -> None:
        """Copies every file of an artifact into a local folder, each verified.

        Raises:
            ArtifactCorrupt: a file is absent or not the one that was published.
            ScratchUnavailable: the folder cannot be written.
        """
        for file in document.all_files:
            content = self._content(document, file)
            try:
                (folder / file.file_name).write_bytes(content)
            except OSError as error:
                raise errors.ScratchUnavailable(
                    f"cannot write {len(content)} bytes into the temporary folder: {error.strerror}"
                ) from error

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

    def _content(self, document: Manifest, expected: GraphFile | ArtifactFile) -> bytes:
        place = f"{document.model}/{document.version}/{expected.file_name}"
        with self._reaching("read"):
            try:
                content: bytes = self._fs.cat_file(f"{self._root}/{place}")
            except (FileNotFoundError, IsADirectoryError):
                raise errors.ArtifactCorrupt(f"{place} is missing; publish it again") from None
        if len(content) != expected.size_bytes:
            raise errors.ArtifactCorrupt(
                f"{place} has {len(content)} bytes, its manifest says {expected.size_bytes}; "
                "publish it again"
            )
        digest = hashlib.sha256(content).hexdigest()
        if digest != expected.sha256:
            raise errors.ArtifactCorrupt(
                f"{place} has SHA-256 {digest}, its manifest says {expected.sha256}; "
                "publish it again"
            )
        return content

    def delete(self, model: str, version: int) -> None:
        """Removes an artifact, for readers at once.

        Raises:
            ArtifactNotFound: there is no such artifact; the message names what exists.
        """
        if version not in self.versions(model):
            raise self._not_found(model, version)
        with self._reaching("delete from"):
            self._publisher.remove(model, version)

    def _not_found(self, model: str, version: int) -> errors.ArtifactNotFound:
        known = self.published()
        if model not in known:
            return errors.ArtifactNotFound(
                f"the store has no model {model}; it has {', '.join(sorted(known)) or 'none'}"
            )
        numbers = ", ".join(str(number) for number in sorted(known[model]))
        return errors.ArtifactNotFound(f"model {model} has no version {version}; it has {numbers}")

    @contextlib.contextmanager
    def _reaching(self, action: str) -> Iterator[None]:
        try:
            yield
        except (errors.PbserveError, Claimed):
            raise
        # File systems of object stores raise what their client libraries raise.
        except Exception as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise errors.StoreUnavailable(
                f"cannot {action} the store {self.url}: {reason}", retry_after=1.0
            ) from error


def _taken(model: str, version: int) -> errors.VersionTaken:
    return errors.VersionTaken(
        f"version {version} of model {model} exists already: choose another one, or leave it "
        "out to get the next"
    )


def _check_files(folder: Path, conversion: Conversion) -> None:
    for file in conversion.all_files:
        if sha256_of(folder / file.file_name) != file.sha256:
            raise errors.ArtifactCorrupt(
                f"{file.file_name} changed between conversion and publication; convert again"
            )
