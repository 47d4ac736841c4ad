"""The way to a store: a URL, its file system, and what that says when it fails."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import fsspec

from service_kit import errors
from service_kit.store.problem import is_refusal, told

# Schemes of object stores: one listing has everything below a prefix, and nothing can be renamed.
_OBJECT_STORES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
_EXTRAS = {"s3": "s3", "gs": "gcs"}
# What is in memory of a file on its way, up or down.
PART_BYTES = 8 * 2**20
_PARTS_AT_A_TIME = 4
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    # A look that hangs ends after 3 x (5 or 15 s); s3fs alone would try 5 x 5 times.
    "s3": {
        "use_listings_cache": False,
        "default_block_size": PART_BYTES,
        "max_concurrency": _PARTS_AT_A_TIME,
        "config_kwargs": {
            "connect_timeout": 5,
            "read_timeout": 15,
            "retries": {"mode": "standard", "total_max_attempts": 3},
        },
    },
    "gs": {"use_listings_cache": False},
}
_NAMED_USER = re.compile(r"//[^/]*@")


def is_object_store(url: str) -> bool:
    """Whether a store's URL is that of an object store, whose graphs are worth a cache."""
    return _scheme(url) in _OBJECT_STORES


class StoreConnection:
    """Has the file system of one URL; opens it again after it has refused us.

    Client libraries read credentials once. A file of credentials that was replaced is only seen
    by a file system that is opened anew.
    """

    def __init__(self, url: str) -> None:
        """Opens the file system; reaches nobody yet.

        Raises:
            StoreUnavailable: fsspec has no file system for the URL.
        """
        self.url = _NAMED_USER.sub("//...@", url)
        self.is_object_store = is_object_store(url)
        try:
            if not url:
                raise ValueError("its URL is empty")  # noqa: TRY301
            if self.is_object_store and "@" in urlsplit(url).netloc:
                raise ValueError(  # noqa: TRY301
                    "credentials in a URL would be in logs and lists of processes; give them by "
                    "the environment or files of the store's own tools"
                )
            self.fs, self.root = _open(url)
        except ImportError as error:
            extra = _EXTRAS.get(_OBJECT_STORES.get(_scheme(url), ""), "")
            remedy = f"; install pbserve[{extra}]" if extra else ""
            raise errors.StoreUnavailable(
                f"cannot open the store {self.url}: {error}{remedy}"
            ) from error
        # Each file system checks its URL, and raises, in its own way.
        except Exception as error:
            raise errors.StoreUnavailable(f"cannot open the store {self.url}: {error}") from error
        self._opened_url = url
        self._refused = False

    @contextlib.contextmanager
    def reaching(self, action: str) -> Iterator[None]:
        """Turns what file systems raise inside the block into `StoreUnavailable`.

        Args:
            action: what is being done, for the message: `list`.
        """
        try:
            if self._refused:
                self.fs, self.root = _open(self._opened_url)
                self._refused = False
            yield
        except errors.PbserveError:
            raise
        # File systems of object stores raise what their client libraries raise.
        except Exception as error:
            self._refused |= self.is_object_store and is_refusal(error)
            raise errors.StoreUnavailable(
                f"{self._cure(error)}cannot {action} the store {self.url}: {told(error)}",
                retry_after=1.0,
            ) from error

    def _cure(self, error: Exception) -> str:
        """Returns what to do about an error, if that is known.

        What a file server exports belongs to root there, whatever a cluster says of groups.
        """
        if self.is_object_store or not isinstance(error, PermissionError):
            return ""
        return f"let user {os.geteuid()}, group {os.getegid()}, use the folder: "


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower() if "://" in url else ""


def _open(url: str) -> tuple[Any, str]:
    kind = _OBJECT_STORES.get(_scheme(url))
    if kind is None:
        fs, root = fsspec.core.url_to_fs(url)
        return fs, root
    # Not one that somebody else in this process has opened, with other settings.
    options = {"skip_instance_cache": True, **_options(kind)}
    if kind == "gs":
        # The class behind the URL asks, by another protocol, of what kind the bucket is, and waits
        # a minute where that protocol does not get through. Plain buckets are all we need.
        from gcsfs.core import GCSFileSystem

        return GCSFileSystem(**options), GCSFileSystem._strip_protocol(url)  # noqa: SLF001
    fs, root = fsspec.core.url_to_fs(url, **options)
    # botocore repeats what is worth it.
    fs.retries = 1
    return fs, root


def _options(kind: str) -> dict[str, Any]:
    """Returns our settings with those of fsspec's configuration over them (`FSSPEC_S3`)."""
    ours = dict(_OPTIONS[kind])
    theirs = {
        key: value
        for scheme, name in _OBJECT_STORES.items()
        if name == kind
        for key, value in fsspec.config.conf.get(scheme, {}).items()
    }
    inner = "config_kwargs"
    if isinstance(theirs.get(inner), Mapping):
        theirs[inner] = {**ours.get(inner, {}), **theirs[inner]}
    return {**ours, **theirs}
