"""The first run of a tower: what it is fed, and whether its answers are what it says they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec, Tower

Tensors = Mapping[str, npt.NDArray[Any]]
# Stands for dimensions that the graph leaves open.
_ANY_SIDE = 224


def blank(tower: Tower, images: int) -> Tensors:
    """Returns inputs of zeros by semantic name, each `[images, ...]` in the tower's dtype."""
    return {spec.name: _zeros(spec, images) for spec in tower.inputs}


def check_outputs_of(tower: Tower, outputs: Tensors, images: int, *, whole: bool = False) -> None:
    """Checks the outputs of a run against what the manifest says of the tower.

    Args:
        tower: what was run.
        outputs: arrays by semantic name.
        images: that it was fed.
        whole: rows need not be those of the images.

    Raises:
        EngineFailed: a dtype, a shape, or the number of rows is another one.
    """
    for spec in tower.outputs:
        found = outputs[spec.name]
        expected = spec.shape if whole else (images, *spec.shape[1:])
        if found.dtype != np.dtype(spec.dtype) or not _fits(found.shape, expected):
            raise errors.EngineFailed(
                f"card {tower.index} answers {images} images with {found.dtype} "
                f"{list(found.shape)} as {spec.name!r}; the manifest says {spec.dtype} "
                f"{list(spec.shape)}"
            )


def _fits(shape: Sequence[int], expected: Sequence[int]) -> bool:
    return len(shape) == len(expected) and all(
        want in (-1, size) for size, want in zip(shape, expected, strict=True)
    )


def _zeros(spec: TensorSpec, images: int) -> npt.NDArray[Any]:
    sizes = spec.probe_shape or [_ANY_SIDE if size < 0 else size for size in spec.shape[1:]]
    return np.zeros([images, *sizes], spec.dtype)
