"""Image files that a command line names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from service_kit import errors

_ENDINGS = (".png", ".jpg", ".jpeg")
# The server takes messages of 64 MiB unless it is told otherwise; a photograph has a tenth.
LARGEST_BYTES = 64 * 2**20


def image_paths(arguments: Iterable[Path]) -> list[Path]:
    """Returns the files in their order, each folder's images in its place, sorted by name.

    Of a folder, what ends in .png, .jpg or .jpeg (upper case, too) counts; not what is hidden, nor
    what is in folders below. A file that is named itself counts whatever its name.

    Raises:
        InvalidRequest: a folder holds no images, or cannot be read.
    """
    paths: list[Path] = []
    for argument in arguments:
        paths += _in_folder(argument) if argument.is_dir() else [argument]
    return paths


def _in_folder(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if _is_image(entry)]
    except OSError as error:
        raise errors.InvalidRequest(f"{folder} cannot be read: {error.strerror}") from error
    if not names:
        raise errors.InvalidRequest(
            f"{folder} holds no images: files that end in {', '.join(_ENDINGS)}; folders below it "
            "have to be named themselves"
        )
    return [folder / name for name in sorted(names)]


def _is_image(entry: os.DirEntry[str]) -> bool:
    return (
        entry.name.lower().endswith(_ENDINGS) and not entry.name.startswith(".") and entry.is_file()
    )


def read_image(path: Path) -> bytes:
    """Returns the content of a file of at most `LARGEST_BYTES`.

    Raises:
        InvalidRequest: it cannot be read, is empty, or is larger.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise errors.InvalidRequest(f"cannot be read: {error.strerror}") from error
    if len(content) > LARGEST_BYTES:
        raise errors.InvalidRequest(
            f"has more than {LARGEST_BYTES // 2**20} MiB: too large to send"
        )
    return content
