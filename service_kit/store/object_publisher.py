"""Publishing into an object store, where a manifest that is put last makes an artifact."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from service_kit import errors
from service_kit.artifacts import manifest_codec
from service_kit.artifacts.manifest import DIGEST_NAME, MANIFEST_NAME, Manifest
from service_kit.artifacts.manifest_digest import digest_file
from service_kit.store.connection import PART_BYTES, StoreConnection
from service_kit.store.local_publisher import Claimed
from service_kit.store.object_listing import PUBLICATION, ObjectListing, StoredObject
from service_kit.store.problem import is_final, is_taken

# Files without a manifest that are this old belong to nobody who will still put one: a publication
# gives up after half of it.
_TORN_AFTER = timedelta(days=1)
# Puts of a manifest that another put gets in the way of.
_MAX_ATTEMPTS = 5


class ObjectPublisher:
    """Puts the files under keys of its own, then the manifest, if the version has none.

    The conditional put of the manifest alone decides who has a version. Whoever does not get it
    has written to no key of the winner's. docs/adr/0012 has the reasons.
    """

    def __init__(
        self, connection: StoreConnection, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Publishes into the connection's store; `clock` gives seconds since 1970."""
        self._connection = connection
        self._listing = ObjectListing(connection)
        self._clock = clock

    def publish(self, document: Manifest, folder: Path) -> Manifest:
        """See `Publisher.publish`."""
        place = f"{self._connection.root}/{document.model}/{document.version}"
        if self._connection.fs.exists(f"{place}/{MANIFEST_NAME}"):
            raise Claimed
        named = replace(document, folder=uuid.uuid4().hex)
        text = manifest_codec.to_json(named)
        digest = f"{place}/{named.folder}/{DIGEST_NAME}"
        files = [f"{place}/{named.folder}/{name}" for name in named.file_names]
        try:
            self._upload(folder, files)
            files.append(digest)
            self._connection.fs.pipe_file(digest, digest_file(text))
        except BaseException:
            self._discard(files)
            raise
        try:
            self._claim(f"{place}/{MANIFEST_NAME}", text)
        except Exception as error:
            # Where nobody knows whether the manifest is there, its files have to stay.
            if isinstance(error, Claimed) or is_final(error):
                self._discard(files)
            raise
        with contextlib.suppress(Exception):
            # Now and then, without a clock of its own: after publications.
            self._sweep(document.model)
        return named

    def _upload(self, folder: Path, paths: list[str]) -> None:
        fs = self._connection.fs
        began = self._clock()
        for path in paths:
            # Neither all at once nor 500 MiB at a time, as would be s3fs' own way.
            parts = {"chunksize": PART_BYTES} if fs.async_impl else {}
            fs.put_file(str(folder / path.rpartition("/")[2]), path, **parts)
        if self._clock() - began > _TORN_AFTER.total_seconds() / 2:
            raise TimeoutError("uploading took half a day, and may be swept away already")

    def _claim(self, key: str, text: bytes) -> None:
        """Puts the manifest; raises `Claimed` when the version has another one."""
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            try:
                self._connection.fs.pipe_file(key, text, mode="create")
            except Exception as error:
                found = b""
                # Where it cannot be read, what went wrong first says more.
                with contextlib.suppress(Exception):
                    found = self._read(key)
                if found == text:
                    # An earlier try of ours, whose answer was lost.
                    return
                if found:
                    raise Claimed from error
                if attempt == _MAX_ATTEMPTS or not is_taken(error):
                    raise
            else:
                return

    def _read(self, key: str) -> bytes:
        content: bytes = self._connection.fs.cat_file(key)
        return content

    def _discard(self, paths: list[str]) -> None:
        for path in paths:
            # What stays is invisible, and swept later.
            with contextlib.suppress(Exception):
                self._connection.fs.rm_file(path)

    def remove(self, model: str, version: int) -> None:
        """See `Publisher.remove`."""
        place = f"{self._connection.root}/{model}/{version}"
        files = self._files_of(f"{place}/{MANIFEST_NAME}", place)
        self._connection.fs.rm_file(f"{place}/{MANIFEST_NAME}")
        self._discard(files)

    def _files_of(self, key: str, place: str) -> list[str]:
        """Returns the files that a manifest names, and no others: somebody may be publishing."""
        try:
            document = manifest_codec.from_json(self._read(key), key)
        except errors.ArtifactCorrupt:
            return []
        below = f"{place}/{document.folder}" if document.folder else place
        return [f"{below}/{name}" for name in (*document.file_names, DIGEST_NAME)]

    def sweep(self) -> None:
        """See `Publisher.sweep`."""
        self._sweep("")

    def _sweep(self, model: str) -> None:
        before = datetime.fromtimestamp(self._clock(), timezone.utc) - _TORN_AFTER
        artifacts: dict[tuple[str, int], list[StoredObject]] = {}
        for one in self._listing.objects(model):
            artifacts.setdefault((one.model, one.version), []).append(one)
        for stored in artifacts.values():
            self._discard(list(self._torn(stored, before)))

    def _torn(self, stored: list[StoredObject], before: datetime) -> Iterator[str]:
        """Yields what is old and belongs to no manifest, among the objects of one version."""
        folders = {
            one.names[0]: one
            for one in stored
            if len(one.names) > 1 and PUBLICATION.fullmatch(one.names[0])
        }
        key = next((one.path for one in stored if one.names == (MANIFEST_NAME,)), None)
        kept = set()
        if key is not None:
            if len(folders) <= 1:
                # Its own, most likely; to be sure would be a request a version.
                return
            try:
                kept.add(manifest_codec.from_json(self._read(key), key).folder)
            except (errors.ArtifactCorrupt, FileNotFoundError):
                return
        for one in stored:
            mine = one.names[0] in folders and one.names[0] not in kept and len(one.names) > 1
            if mine and one.modified is not None and one.modified < before:
                yield one.path
