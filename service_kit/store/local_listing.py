"""What lies in a store: folders, versions, and whether something has changed."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from typing import Any

from service_kit.artifacts.manifest import MANIFEST_NAME
from service_kit.artifacts.model_name import is_model_name

_VERSION = re.compile(r"[1-9][0-9]{0,18}")
# Versions travel as int64.
HIGHEST_VERSION = 2**63 - 1
# Looks at a folder that changes under them, before it counts as one that cannot be read.
_LISTINGS = 10


class StoreListing:
    """Lists an fsspec file system below `root`, always anew; raises what that raises."""

    def __init__(self, fs: Any, root: str) -> None:
        """Lists below `root`."""
        self._fs = fs
        self._root = root

    def published(self) -> dict[str, dict[int, str]]:
        """Returns model -> version -> fingerprint of everything readers can see."""
        self._fs.invalidate_cache()
        if self._fs.isfile(self._root):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        found = {}
        for model in filter(is_model_name, self._names(self._root, must_exist=True)):
            versions = self.versions(model)
            if versions:
                found[model] = versions
        return found

    def versions(self, model: str) -> dict[int, str]:
        """Returns version -> fingerprint of what readers can see of one model."""
        found = {}
        for version in self.claimed(model):
            files = self._files(f"{self._root}/{model}/{version}")
            if any(_last(file["name"]) == MANIFEST_NAME for file in files):
                found[version] = " ".join(sorted(map(fingerprint, files)))
        return found

    def claimed(self, model: str) -> list[int]:
        """Returns every version number that has a folder, published or not."""
        return list(filter(None, map(version_of, self._names(f"{self._root}/{model}"))))

    def _names(self, folder: str, *, must_exist: bool = False) -> list[str]:
        # Without details: what vanishes while it is listed cannot make the listing fail.
        return [_last(path) for path in self._list(folder, must_exist=must_exist, detail=False)]

    def _files(self, folder: str) -> list[dict[str, Any]]:
        return self._list(folder, must_exist=False, detail=True)

    def _list(self, folder: str, *, must_exist: bool, detail: bool) -> list[Any]:
        """Lists a folder; one that is not there is empty, one that cannot be read is an error.

        The difference matters: what is not published any more is unloaded.
        """
        for _ in range(_LISTINGS):
            try:
                listed: list[Any] = self._fs.ls(folder, detail=detail)
            except (FileNotFoundError, NotADirectoryError) as error:
                if not must_exist and not self._fs.isdir(folder):
                    return []
                # It, or something in it, came or went between the two looks: look again.
                problem = error
            else:
                return listed
        raise problem


def _last(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


def version_of(name: str) -> int:
    """Returns the version that a folder's name stands for; 0 for none."""
    number = int(name) if _VERSION.fullmatch(name) else 0
    return number if number <= HIGHEST_VERSION else 0


def fingerprint(entry: Mapping[str, object]) -> str:
    """Returns what changes with a file, of what a file system says of it."""
    keys = ("name", "size", "ETag", "etag", "LastModified", "updated", "created", "mtime", "ino")
    return " ".join(f"{key}={entry[key]}" for key in keys if key in entry)
