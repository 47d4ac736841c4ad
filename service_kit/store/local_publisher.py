"""Making an artifact appear all at once: on a file system, by a rename."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from pathlib import Path
from typing import Protocol

from service_kit.artifacts import manifest_codec
from service_kit.artifacts.manifest import DIGEST_NAME, MANIFEST_NAME, Manifest
from service_kit.artifacts.manifest_digest import digest_file
from service_kit.store.local_folders import TORN, new_folder, sweep_folders


class Claimed(Exception):
    """Somebody else has the version."""


class Publisher(Protocol):
    """Writes and removes whole artifacts; what the file system raises passes through."""

    def publish(self, document: Manifest, folder: Path) -> Manifest:
        """Makes the artifact, whose files lie in `folder`, visible to readers as a whole.

        Returns:
            The manifest, which says where the files are now.

        Raises:
            Claimed: the version is there already.
        """

    def remove(self, model: str, version: int) -> None:
        """Makes the artifact invisible to readers, then frees its space."""

    def sweep(self) -> None:
        """Clears away what killed processes left behind."""


class LocalPublisher:
    """Writes into a hidden folder of the same file system, syncs it, and renames it."""

    def __init__(self, root: Path) -> None:
        """Publishes below `root`."""
        self._root = root

    def publish(self, document: Manifest, folder: Path) -> Manifest:
        """See `Publisher.publish`."""
        model = self._root / document.model
        with new_folder(self._root, TORN[0]) as hidden:
            try:
                for name in document.file_names:
                    shutil.copyfile(folder / name, hidden / name)
                text = manifest_codec.to_json(document)
                (hidden / DIGEST_NAME).write_bytes(digest_file(text))
                (hidden / MANIFEST_NAME).write_bytes(text)
                for path in (*hidden.iterdir(), hidden):
                    _sync(path)
                _rename_into(hidden, model, str(document.version))
                with contextlib.suppress(FileNotFoundError):
                    # Deleted again already.
                    _sync(model)
                _sync(self._root)
            except BaseException:
                shutil.rmtree(hidden, ignore_errors=True)
                _remove_if_empty(model)
                raise
        return document

    def remove(self, model: str, version: int) -> None:
        """See `Publisher.remove`."""
        hidden = self._root / f"{TORN[1]}{uuid.uuid4().hex}"
        (self._root / model / str(version)).rename(hidden)
        # Somebody who starts may be sweeping it away at the same time.
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(hidden)
        _remove_if_empty(self._root / model)

    def sweep(self) -> None:
        """See `Publisher.sweep`."""
        sweep_folders(self._root)


def _rename_into(hidden: Path, folder: Path, name: str) -> None:
    """Renames `hidden` to `folder`/`name`, making `folder` as often as somebody removes it."""
    while True:
        try:
            folder.mkdir(exist_ok=True)
            hidden.rename(folder / name)
        except (FileNotFoundError, FileExistsError):
            if os.path.lexists(folder / name):
                raise Claimed from None
            if hidden.exists() and (folder.is_dir() or not os.path.lexists(folder)):
                # A deletion of the model's last version took `folder` away under our hands.
                continue
            raise
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.ENOTDIR}:
                raise Claimed from None
            raise
        return


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
