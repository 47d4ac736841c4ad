"""The images of a command, each with a name for people, read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inference_service.cli.inputs.image_files import image_paths, read_image
from inference_service.cli.inputs.npz_file import array_of

# Pixels [images, ...], or encoded images.
Content = npt.NDArray[Any] | list[bytes]


@dataclass(frozen=True, slots=True)
class NamedImages:
    """Names, and what gives the image at a position: pixels [1, ...] or one encoded image."""

    names: Sequence[str]
    read: Callable[[int], Content]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.names)))


def size_of(content: Content) -> int:
    """Returns the bytes of an image."""
    return content.nbytes if isinstance(content, np.ndarray) else sum(map(len, content))


def named_images(paths: Sequence[Path], npz: Path | None, key: str) -> NamedImages:
    """Returns the images of files and folders, or those of an archive.

    Files are read when their turn comes, an archive is read here.

    Raises:
        InvalidRequest: a folder has no images, or the archive cannot be read.
    """
    if npz:
        array = array_of(npz, key)
        names = [f"{key}[{index}]" for index in range(len(array))]
        return NamedImages(names, lambda index: array[index : index + 1])
    files = image_paths(paths)
    return NamedImages([str(path) for path in files], lambda index: [read_image(files[index])])
