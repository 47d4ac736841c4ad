"""A file of settings on disk: read at the start, and again when it changes."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from service_kit import errors

_log = structlog.get_logger(__name__)
_LARGEST = 2**20

Content = TypeVar("Content")


class WatchedFile(Generic[Content]):
    """Reads one file; a bad file changes nothing and says why."""

    def __init__(self, path: Path, parse: Callable[[str, str], Content], kind: str) -> None:
        """Watches `path`; reads nothing yet.

        Args:
            path: of the file.
            parse: returns what a text says; takes the text and a name of the file for errors,
                and raises `InvalidRequest`.
            kind: what the file is, for errors and logs: `models file`.
        """
        self._path = path
        self._parse = parse
        self._kind = kind
        # Why the file on disk is not the one in force; empty: it is.
        self.trouble = ""
        self._seen: object = None
        # What was there at the last look.
        self._glimpsed: object = None
        self._in_force: Content | None = None
        # The last text that was bad, and why: reading a large one costs time.
        self._refused = ("", "")

    def load(self) -> Content:
        """Returns the content at the start.

        Raises:
            InvalidRequest: the file cannot be read or is bad; says where.
        """
        self._seen = self._glimpsed = self._identity()
        self._in_force = self._read()
        return self._in_force

    def refresh(self) -> Content | None:
        """Returns new content when there is; None while nothing has changed for the better.

        A change is read at the second look that finds it: a file that is being written is empty
        first, and then a half, and both can be valid.
        """
        seen = self._identity()
        # What could not be read may be so because of something beside the file.
        if seen == self._seen and seen is not None and not self.trouble:
            return None
        if seen != self._glimpsed:
            self._glimpsed = seen
            return None
        try:
            found = self._read()
        except errors.InvalidRequest as error:
            if self.trouble != error.message:
                _log.warning("file_refused", kind=self._kind, message=error.message)
            self.trouble = error.message
            return None
        self._seen, self.trouble = seen, ""
        if found == self._in_force:
            return None
        self._in_force = found
        _log.info("file_read", kind=self._kind)
        return found

    def _identity(self) -> object:
        """Returns what changes with the file's content; through links, as config maps have them."""
        try:
            found = self._path.stat()
        except (OSError, ValueError):
            return None
        return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)

    def _read(self) -> Content:
        where = f"{self._kind} {self._path}"
        try:
            text = self._text(where)
        except UnicodeDecodeError as error:
            raise errors.InvalidRequest(f"{where}: {error}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise errors.InvalidRequest(f"{where} cannot be read: {reason}") from None
        if not text.strip():
            # What a full disk or a careless editor leaves behind; it would take everything back.
            raise errors.InvalidRequest(f"{where} is empty")
        if text == self._refused[0] and self._refused[1]:
            raise errors.InvalidRequest(self._refused[1])
        try:
            return self._parse(text, where)
        except errors.InvalidRequest as error:
            self._refused = (text, error.message)
            raise

    def _text(self, where: str) -> str:
        # A pipe without a writer must not hold the server up.
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise errors.InvalidRequest(f"{where} is no regular file")
            # One read may be short on file systems of a network: half a file can be valid.
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(_LARGEST + 1)
        finally:
            os.close(descriptor)
        if len(content) > _LARGEST:
            raise errors.InvalidRequest(f"{where} is larger than 1 MiB")
        return content.decode()
