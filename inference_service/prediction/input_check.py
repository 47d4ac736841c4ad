"""Whether the tensors of a request are what a card takes. Values in, values out."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec


def check_inputs(inputs: Mapping[str, npt.NDArray[Any]], specs: Sequence[TensorSpec]) -> int:
    """Returns the number of images in a request.

    Args:
        inputs: arrays by semantic name; the first dimension counts images.
        specs: what the card takes.

    Raises:
        InvalidTensor: a name, rank, size or dtype is wrong; says what came and what is expected.
    """
    if len(inputs) != len(specs) or any(spec.name not in inputs for spec in specs):
        names = sorted(spec.name for spec in specs)
        raise errors.InvalidTensor(f"inputs are {sorted(inputs)}; the model takes {names}")
    counts: dict[str, int] = {}
    images = 0
    for spec in specs:
        array = inputs[spec.name]
        if not _shape_fits(array.shape, spec.shape):
            raise errors.InvalidTensor(
                f"input {spec.name!r} has shape {list(array.shape)}; the model takes "
                f"{_shape_text(spec.shape)}"
            )
        if not _casts(array.dtype, spec.dtype):
            raise errors.InvalidTensor(
                f"input {spec.name!r} is {array.dtype.name}; the model takes {spec.dtype} or "
                "what casts to it without loss"
            )
        counts[spec.name] = images = int(array.shape[0])
    if len(specs) > 1 and len(set(counts.values())) != 1:
        raise errors.InvalidTensor(f"inputs differ in their number of images: {counts}")
    return images


@functools.cache
def _casts(dtype: np.dtype[Any], wanted: str) -> bool:
    # Of as many pairs as protocols and models have dtypes.
    return bool(np.can_cast(dtype, np.dtype(wanted), "safe"))


def _shape_fits(shape: Sequence[int], expected: Sequence[int]) -> bool:
    """Whether an array fits; a fixed number of images is the card's business, which pads."""
    if len(shape) != len(expected) or not shape:
        return False
    for size, want in zip(shape[1:], expected[1:], strict=True):  # noqa: SIM110 - quicker
        if want not in (-1, size):
            return False
    return True


def _shape_text(shape: Sequence[int]) -> str:
    sizes = ["any" if size < 0 else str(size) for size in shape[1:]]
    return f"[{', '.join(['images', *sizes])}]"
