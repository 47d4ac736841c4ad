"""What a load sends: images of an archive or of files, or random ones of the model's shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from inference_service.cli.inputs.named_images import Content, NamedImages, size_of
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec

# Images by the name of the model's input.
Request = dict[str, Content]
# Different requests are enough of these that no cache on the way answers for the model.
_MAX_REQUESTS = 64
_MAX_BYTES = 128 * 2**20
_SEED = 0


def random_requests(spec: TensorSpec, batch: int, size: tuple[int, int] | None) -> list[Request]:
    """Returns requests of uniformly random values, 0 to 255.

    Args:
        spec: the input, [images, ...]; -1 is any size.
        batch: images in a request.
        size: height and width for inputs that take any; channels are 3 then, if they are open.

    Raises:
        InvalidRequest: the input leaves open more than that, or takes no numbers.
    """
    dtype = np.dtype(spec.dtype)
    if dtype.kind not in "biuf":
        raise errors.InvalidRequest(f"input {spec.name!r} is {spec.dtype}: give images")
    shape = (batch, *_sizes(spec, size))
    each = max(1, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
    random = np.random.default_rng(_SEED)
    return [
        {spec.name: _values(random, shape, dtype)}
        for _ in range(max(1, min(_MAX_REQUESTS, _MAX_BYTES // each)))
    ]


def image_requests(images: NamedImages, name: str, batch: int) -> list[Request]:
    """Returns requests of the images in their order, from the beginning again where they end.

    Images that would take more than 128 MiB together are left out.

    Raises:
        InvalidRequest: an image cannot be read, or there is none.
    """
    if not len(images):
        raise errors.InvalidRequest("there are no images")
    contents: list[Content] = []
    size = 0
    for index in images:
        content = _read(images, index)
        size += size_of(content)
        if contents and size > _MAX_BYTES:
            break
        contents.append(content)
    # As few requests as have every image once, in a whole number of rounds where that is possible.
    count = min(_MAX_REQUESTS, len(contents))
    return [
        {name: _joined([contents[(first * batch + n) % len(contents)] for n in range(batch)])}
        for first in range(count)
    ]


def _sizes(spec: TensorSpec, size: tuple[int, int] | None) -> list[int]:
    sizes = list(spec.shape[1:])
    is_image = len(sizes) == 3
    if is_image and min(sizes[:2]) < 0 and size:
        sizes[:2] = [asked if one < 0 else one for one, asked in zip(sizes[:2], size, strict=True)]
    if is_image and min(sizes[:2]) >= 0 > sizes[2]:
        sizes[2] = 3
    if any(one < 0 for one in sizes):
        advice = "say which with --size" if is_image and not size else "give images with --npz"
        raise errors.InvalidRequest(
            f"input {spec.name!r} has shape {list(spec.shape)}, which leaves sizes open: {advice}"
        )
    return sizes


def _values(
    random: np.random.Generator, shape: Sequence[int], dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(bool)
    if dtype.kind == "f":
        return random.uniform(0, 255, shape).astype(dtype)
    highest = min(np.iinfo(dtype).max, 255)
    return random.integers(0, highest, shape, dtype, endpoint=True)


def _read(images: NamedImages, index: int) -> Content:
    try:
        return images.read(index)
    except errors.InvalidRequest as error:
        raise errors.InvalidRequest(f"{images.names[index]}: {error}") from error


def _joined(images: Sequence[Content]) -> Content:
    if isinstance(images[0], np.ndarray):
        return np.concatenate(images)
    return [content for one in images if isinstance(one, list) for content in one]
