"""The models file on disk: read at the start, and again when it changes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import structlog

from inference_service.models_file import EMPTY, ModelsFile, parse_models_file
from service_kit import errors

_log = structlog.get_logger(__name__)
_LARGEST = 2**20


class ModelsFileWatch:
    """Reads one file; a bad file changes nothing and says why."""

    def __init__(self, path: Path) -> None:
        """Watches `path`; reads nothing yet."""
        self._path = path
        # Why the file on disk is not the one in force; empty: it is.
        self.trouble = ""
        self._seen: object = None
        # What was there at the last look.
        self._glimpsed: object = None
        self._in_force = EMPTY
        # The last text that was bad, and why: reading YAML costs 1 ms for each model.
        self._refused = ("", "")

    def load(self) -> ModelsFile:
        """Returns the settings at the start.

        Raises:
            InvalidRequest: the file cannot be read or is bad; says where.
        """
        self._seen = self._glimpsed = self._identity()
        self._in_force = self._read()
        return self._in_force

    def refresh(self) -> ModelsFile | None:
        """Returns new settings when there are; None while nothing has changed for the better.

        A change is read at the second look that finds it: a file that is being written is empty
        first, and then a half, and both can be valid YAML.
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
                _log.warning("models_file_refused", message=error.message)
            self.trouble = error.message
            return None
        self._seen, self.trouble = seen, ""
        if found == self._in_force:
            return None
        self._in_force = found
        return found

    def _identity(self) -> object:
        """Returns what changes with the file's content; through links, as config maps have them."""
        try:
            found = self._path.stat()
        except (OSError, ValueError):
            return None
        return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)

    def _read(self) -> ModelsFile:
        try:
            text = self._content().decode()
        except UnicodeDecodeError as error:
            raise errors.InvalidRequest(f"models file {self._path}: {error}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise errors.InvalidRequest(
                f"models file {self._path} cannot be read: {reason}"
            ) from None
        if text == self._refused[0] and self._refused[1]:
            raise errors.InvalidRequest(self._refused[1])
        try:
            return parse_models_file(text, f"models file {self._path}")
        except errors.InvalidRequest as error:
            self._refused = (text, error.message)
            raise

    def _content(self) -> bytes:
        # A pipe without a writer must not hold the server up.
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise errors.InvalidRequest(f"models file {self._path} is no regular file")
            # One read may be short on file systems of a network: half a file can be valid YAML.
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(_LARGEST + 1)
        finally:
            os.close(descriptor)
        if len(content) > _LARGEST:
            raise errors.InvalidRequest(f"models file {self._path} is larger than 1 MiB")
        return content
