"""Arrays of requests <-> arrays of a batch."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]


def stack_tensors(parts: Sequence[Tensors], specs: Sequence[TensorSpec], size: int) -> Tensors:
    """Returns one batch of all parts, in the dtypes of `specs`.

    A lone part that fits as it is, is not copied. What is missing to `size` images repeats the
    last one, so that padding cannot bring values that no image has.
    """
    batch = {}
    for spec in specs:
        pieces = [part[spec.name] for part in parts]
        images = sum(len(piece) for piece in pieces)
        if len(pieces) == 1 and images == size:
            batch[spec.name] = pieces[0].astype(spec.dtype, copy=False)
            continue
        whole = np.empty((size, *pieces[0].shape[1:]), spec.dtype)
        np.concatenate(pieces, out=whole[:images], casting="safe")
        whole[images:] = whole[images - 1]
        batch[spec.name] = whole
    return batch


def check_outputs(outputs: Tensors, images: int) -> None:
    """Checks that every output has one entry an image.

    Raises:
        EngineFailed: it has not.
    """
    for name, output in outputs.items():
        if output.ndim == 0 or output.shape[0] != images:
            raise errors.EngineFailed(
                f"output {name!r} has shape {list(output.shape)} for {images} images: the "
                "graph does not keep images apart"
            )


def part(tensors: Tensors, start: int, stop: int) -> Tensors:
    """Returns views of images `start` to `stop`."""
    return {name: array[start:stop] for name, array in tensors.items()}


def join_tensors(parts: Sequence[Tensors]) -> Tensors:
    """Returns the images of all parts, in order; a lone part is not copied."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}


def kind(tensors: Tensors) -> Hashable:
    """Returns what inputs have in common that fit into one batch: names, shapes and dtypes."""
    names = sorted(tensors) if len(tensors) > 1 else tensors
    return tuple([(name, tensors[name].shape[1:], tensors[name].dtype) for name in names])


def size_in_bytes(tensors: Tensors) -> int:
    """Returns what the arrays hold."""
    return sum([array.nbytes for array in tensors.values()])


def has_non_finite(tensors: Tensors) -> bool:
    """Returns whether any element is a NaN or an infinity."""
    return any(
        array.dtype.kind in "fc" and not bool(np.isfinite(array).all())
        for array in tensors.values()
    )


def non_finite_images(tensors: Tensors, images: int) -> int:
    """Returns how many of the first images have a NaN or an infinity."""
    parts = [array[:images] for array in tensors.values() if array.dtype.kind in "fc"]
    if not parts:
        return 0
    with np.errstate(all="ignore"):
        # One pass without a temporary array: what is not finite shows in the sum. A sum of finite
        # values may overflow.
        suspects = [one for one in parts if not math.isfinite(abs(one.sum()))]
    if not suspects:
        return 0
    found = np.zeros(images, np.bool_)
    for one in suspects:
        found |= ~np.isfinite(one.reshape(images, -1)).all(axis=1)
    return int(found.sum())
