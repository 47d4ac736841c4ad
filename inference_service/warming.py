"""The first runs of a card: they optimise its graph, and tell how large batches should be."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from inference_service.batch_limit import BatchTiming, still_grows
from inference_service.batch_tensors import Tensors
from service_kit import errors
from service_kit.manifest import TensorSpec, Tower

# Warms graphs that take images of any size.
_ANY_SIDE = 224
# Runs of one size after the first, of which the fastest counts: some, and more of those that take
# so little time that other work on the machine matters; one that takes long is steady by itself.
_RUNS, _MOST_RUNS = 3, 20
_ENOUGH_SECONDS = 0.05
_LONG_SECONDS = 0.5


def fixed_batch(tower: Tower) -> int:
    """Returns the only batch size that the graph takes; 0: it takes any."""
    return max(0, *(spec.shape[0] for spec in tower.inputs)) if tower.inputs else 0


def blank(tower: Tower, images: int) -> Tensors:
    """Returns inputs of zeros."""
    return {spec.name: _zeros(spec, images) for spec in tower.inputs}


def warm(
    run: Callable[[Tensors], Tensors],
    tower: Tower,
    largest: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[BatchTiming, ...]:
    """Runs batches of 1, 2, 4, ... images until larger ones are not worth it.

    Args:
        run: computes a batch on one card.
        tower: what the card feeds and fetches.
        largest: batch to try at most.
        clock: seconds.

    Returns:
        Sizes and times, smallest first; the last one may be past the best.

    Raises:
        EngineFailed: it cannot run, or its outputs are not those of the manifest.
    """
    timings: list[BatchTiming] = []
    for size in _sizes(fixed_batch(tower), largest):
        if not still_grows(timings):
            break
        inputs = blank(tower, size)
        _check(run(inputs), tower, size)
        timings.append(BatchTiming(size, _fastest(run, inputs, clock)))
    return tuple(timings)


def _fastest(
    run: Callable[[Tensors], Tensors], inputs: Tensors, clock: Callable[[], float]
) -> float:
    times: list[float] = []
    while len(times) < _MOST_RUNS:
        began = clock()
        run(inputs)
        times.append(clock() - began)
        if times[-1] > _LONG_SECONDS or (len(times) >= _RUNS and sum(times) > _ENOUGH_SECONDS):
            break
    return min(times)


def _sizes(fixed: int, largest: int) -> list[int]:
    if fixed:
        return [fixed]
    sizes = [2**power for power in range(largest.bit_length()) if 2**power <= largest]
    return sizes if sizes[-1] == largest else [*sizes, largest]


def _check(outputs: Tensors, tower: Tower, images: int) -> None:
    for spec in tower.outputs:
        found, expected = outputs[spec.name], (images, *spec.shape[1:])
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


def _zeros(spec: TensorSpec, images: int) -> np.ndarray:
    sizes = [_ANY_SIDE if size < 0 else size for size in spec.shape[1:]]
    return np.zeros([images, *sizes], spec.dtype)
