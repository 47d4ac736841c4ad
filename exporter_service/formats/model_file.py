"""The file of a format: one protobuf message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service_kit import errors

# Protobuf's own limit for one message.
LARGEST_BYTES = 2**31 - 1


def write_message(message: Any, path: Path) -> Path:
    """Writes a message so that equal messages give equal bytes, and returns the path.

    Raises:
        Unconvertible: it is larger than protobuf allows.
        ScratchUnavailable: the folder is full or not there.
    """
    size = message.ByteSize()
    if size > LARGEST_BYTES:
        raise errors.Unconvertible(
            f"{path.name} would have {size} bytes; such a file holds at most {LARGEST_BYTES}"
        )
    write_content(message.SerializeToString(deterministic=True), path)
    return path


def write_content(content: bytes, path: Path) -> None:
    """Writes a file into the temporary folder.

    Raises:
        ScratchUnavailable: the folder is full or not there.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise errors.ScratchUnavailable(
            f"cannot write {len(content)} bytes into the temporary folder: {error.strerror}"
        ) from error
