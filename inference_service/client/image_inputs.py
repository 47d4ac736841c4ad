"""What a caller may give as images -> arrays and encoded images, on the client's side."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt

from service_kit import errors

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Array = npt.NDArray[Any]
# A file's content, or its path.
Encoded = Union[bytes, bytearray, memoryview, str, "os.PathLike[str]"]
Image = Union[Encoded, "PillowImage"]
# Pixels [images, height, width, channels], or images one by one.
Images = Array | Image | Sequence[Image | Array]
Inputs = Images | Mapping[str, Images]

_PATHS = (str, os.PathLike)
_CONTENTS = (bytes, bytearray, memoryview)
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
# What has 8 bits a channel or fewer: the others would lose some.
_MODES = frozenset(["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"])


def by_name(inputs: Inputs, default: str) -> Mapping[str, Images]:
    """Returns the images by semantic name; `default` is the name of those that have none.

    Raises:
        InvalidRequest: a name is no text.
    """
    if not isinstance(inputs, Mapping):
        return {default: inputs}
    for name in inputs:
        if not isinstance(name, str):
            raise errors.InvalidRequest(f"input {name!r}: names of inputs are texts")
    return inputs


def needs_files(inputs: Inputs) -> bool:
    """Whether `tensor_or_files` would read files or convert Pillow's images, which takes time."""
    values = inputs.values() if isinstance(inputs, Mapping) else (inputs,)
    return any(
        isinstance(one, _PATHS) or _is_pillow(one) for value in values for one in _listed(value)
    )


def tensor_or_files(name: str, images: Images) -> Array | list[bytes]:
    """Returns the pixels, or one encoded image an element.

    Args:
        name: of the input, for errors.
        images: an array [images, height, width, channels] or what NumPy makes one of; one image,
            or a list of them: the content of a JPEG or PNG file, or its path. Or images of
            Pillow, of one size: they become RGB, uint8, alpha dropped and grey repeated as the
            server does with files; EXIF orientation is not applied.

    Raises:
        InvalidRequest: a file cannot be read or is neither JPEG nor PNG; kinds are mixed that
            one tensor cannot hold.
        InvalidTensor: images of Pillow have several sizes, or more than 8 bits a channel.
    """
    listed = _listed(images)
    if isinstance(images, np.ndarray) or not any(map(_is_image, listed)):
        # An empty list is one of files; numbers in lists are pixels.
        return [] if isinstance(images, (list, tuple)) and not images else _array(name, images)
    if all(map(_is_pillow, listed)):
        return _pixels(name, listed)
    return [_content(f"image {n} of input {name!r}", one) for n, one in enumerate(listed)]


def _listed(images: Any) -> Sequence[Any]:
    return images if isinstance(images, (list, tuple)) else (images,)


def _is_image(value: Any) -> bool:
    return isinstance(value, (*_PATHS, *_CONTENTS)) or _is_pillow(value)


def _is_pillow(value: Any) -> bool:
    """Whether it is an image of Pillow, which is loaded if there is one."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)


def _array(name: str, value: Any) -> Array:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise errors.InvalidRequest(f"input {name!r} is no array: {error}") from error
    if array.dtype.kind not in "biufcV":
        # V has the types that NumPy does not know itself, as bfloat16.
        raise errors.InvalidRequest(
            f"input {name!r} is a {type(value).__name__} that becomes an array of {array.dtype}: "
            "give an array of numbers, image files (paths, or their contents), or Pillow images"
        )
    return array


def _pixels(name: str, images: Sequence[PillowImage]) -> Array:
    first = images[0].size
    for n, image in enumerate(images):
        if image.size != first:
            raise errors.InvalidTensor(
                f"image {n} of input {name!r} has {image.width}x{image.height} pixels, image 0 "
                f"{first[0]}x{first[1]}: send images of one size in one group"
            )
        if image.mode not in _MODES:
            raise errors.InvalidTensor(
                f"image {n} of input {name!r} has mode {image.mode}: convert it to RGB, or send "
                "an array"
            )
    return np.stack([_rgb(f"image {n} of input {name!r}", one) for n, one in enumerate(images)])


def _rgb(where: str, image: PillowImage) -> Array:
    try:
        # Reads the file that the image was opened from, if it was not read before.
        return np.asarray(image.convert("RGB"))
    except Exception as error:
        # OSError, ValueError, struct.error: Pillow promises no set.
        raise errors.InvalidTensor(f"{where} does not decode: {error}") from error


def _content(where: str, value: Any) -> bytes:
    if isinstance(value, _CONTENTS):
        return bytes(value)
    if not isinstance(value, _PATHS):
        raise errors.InvalidRequest(
            f"{where} is a {type(value).__name__}: a list has either files (paths, or their "
            "contents) or Pillow images"
        )
    try:
        return _read(where, Path(value))
    except OSError as error:
        raise errors.InvalidRequest(
            f"{where}: {os.fspath(value)} cannot be read: {error.strerror}"
        ) from error
    except (ValueError, TypeError) as error:
        # A path that no file can have.
        raise errors.InvalidRequest(f"{where}: {value!r} is no path: {error}") from error


def _read(where: str, path: Path) -> bytes:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise errors.InvalidRequest(f"{where}: {path} is a directory: give the files in it")
    if not stat.S_ISREG(mode):
        raise errors.InvalidRequest(f"{where}: {path} is no regular file")
    with path.open("rb") as file:
        start = file.read(len(_STARTS[0]))
        if not start.startswith(_STARTS):
            raise errors.InvalidRequest(
                f"{where}: {path} is neither JPEG nor PNG: it begins with {start!r}"
            )
        return start + file.read()
