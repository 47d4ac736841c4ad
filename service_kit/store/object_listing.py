"""What lies in an object store: keys below a prefix, all in one listing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from service_kit.artifacts.manifest import MANIFEST_NAME
from service_kit.artifacts.model_name import is_model_name
from service_kit.store.connection import StoreConnection
from service_kit.store.local_listing import fingerprint, version_of

# Names of what publications write into.
PUBLICATION = re.compile(r"[0-9a-f]{32}")


class StoredObject(NamedTuple):
    """One object of an artifact; `names` are those below the version's folder.

    `modified` is the store's time, None where it has none.
    """

    model: str
    version: int
    names: tuple[str, ...]
    path: str
    fingerprint: str
    modified: datetime | None


class ObjectListing:
    """Lists a store with one request a thousand keys; raises what its file system raises.

    A bucket that is not there is an error. A prefix that is not there is an empty store: object
    stores have no folders that could be missing.
    """

    def __init__(self, connection: StoreConnection) -> None:
        """Lists the connection's store."""
        self._connection = connection

    def published(self) -> dict[str, dict[int, str]]:
        """Returns model -> version -> fingerprint of everything readers can see."""
        found: dict[str, dict[int, str]] = {}
        for (model, version), fingerprints in self._visible("").items():
            found.setdefault(model, {})[version] = fingerprints
        return found

    def versions(self, model: str) -> dict[int, str]:
        """Returns version -> fingerprint of what readers can see of one model."""
        return {version: seen for (_, version), seen in self._visible(model).items()}

    def objects(self, model: str = "") -> Iterator[StoredObject]:
        """Yields every object of a model's artifacts, published or not; empty: of all."""
        fs, root = self._connection.fs, self._connection.root
        fs.invalidate_cache()
        below = f"{root}/{model}" if model else root
        for path, entry in fs.find(below, detail=True).items():
            model_name, _, rest = path.removeprefix(f"{root}/").partition("/")
            number, _, names = rest.partition("/")
            version = version_of(number)
            if names and version and is_model_name(model_name):
                yield StoredObject(
                    model_name,
                    version,
                    tuple(names.split("/")),
                    path,
                    fingerprint(entry),
                    _modified(entry),
                )

    def _visible(self, model: str) -> dict[tuple[str, int], str]:
        """Returns the fingerprint of each version that has a manifest.

        It is of what lies beside the manifest. Folders are left out: others, who publish at the
        same time, write theirs there until they see that they are late.
        """
        seen: dict[tuple[str, int], list[str]] = {}
        published = set()
        for one in self.objects(model):
            if len(one.names) == 1:
                seen.setdefault((one.model, one.version), []).append(one.fingerprint)
                if one.names[0] == MANIFEST_NAME:
                    published.add((one.model, one.version))
        return {key: " ".join(sorted(seen[key])) for key in sorted(published)}


def _modified(entry: Mapping[str, Any]) -> datetime | None:
    # S3's, Google's, and that of fsspec's memory.
    for key in ("LastModified", "mtime", "created"):
        time = entry.get(key)
        if isinstance(time, datetime):
            return time if time.tzinfo else time.replace(tzinfo=timezone.utc)
        if isinstance(time, float):
            return datetime.fromtimestamp(time, timezone.utc)
    return None
