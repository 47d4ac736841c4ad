"""The first runs of a card: they optimise its graph, and tell how large batches should be."""

from __future__ import annotations

import time
from collections.abc import Callable

from inference_service.cards.batch_limit import BatchTiming, still_grows
from inference_service.cards.batch_tensors import Tensors
from inference_service.loading.memory import peak_growth
from service_kit.artifacts.manifest import Tower
from service_kit.frozen_graph.blank_run import blank, check_outputs_of

# Runs of one size after the first, of which the fastest counts: some, and more of those that take
# so little time that other work on the machine matters; one that takes long is steady by itself.
_RUNS, _MAX_RUNS = 3, 20
_ENOUGH_SECONDS = 0.05
_LONG_SECONDS = 0.5


def warm(
    run: Callable[[Tensors], Tensors],
    tower: Tower,
    largest: int,
    clock: Callable[[], float] = time.perf_counter,
    *,
    whole: bool = False,
    max_bytes: float = float("inf"),
    peak_of: Callable[[Callable[[], object]], int] = peak_growth,
) -> tuple[BatchTiming, ...]:
    """Runs batches of 1, 2, 4, ... images until larger ones are not worth it.

    Args:
        run: computes a batch on one card.
        tower: what the card feeds and fetches.
        largest: batch to try at most.
        clock: seconds.
        whole: the outputs need not have one row an image.
        max_bytes: that a batch may take beside its inputs; larger ones are not tried.
        peak_of: returns the bytes that some work takes, at most; 0: not known.

    Returns:
        Sizes and times, smallest first; the last one may be past the best.

    Raises:
        EngineFailed: it cannot run, or its outputs are not those of the manifest.
    """
    timings: list[BatchTiming] = []
    for size in _sizes(largest):
        if not still_grows(timings):
            break
        if timings and timings[-1].peak_bytes * size / timings[-1].batch_size > max_bytes:
            break
        inputs = blank(tower, size)
        outputs: list[Tensors] = []
        peak = peak_of(lambda: outputs.append(run(inputs)))  # noqa: B023 - called at once
        check_outputs_of(tower, outputs.pop(), size, whole=whole)
        timings.append(BatchTiming(size, _fastest(run, inputs, clock), peak))
    return tuple(timings)


def _fastest(
    run: Callable[[Tensors], Tensors], inputs: Tensors, clock: Callable[[], float]
) -> float:
    times: list[float] = []
    while len(times) < _MAX_RUNS:
        began = clock()
        run(inputs)
        times.append(clock() - began)
        if times[-1] > _LONG_SECONDS or (len(times) >= _RUNS and sum(times) > _ENOUGH_SECONDS):
            break
    return min(times)


def _sizes(largest: int) -> list[int]:
    sizes = [2**power for power in range(largest.bit_length()) if 2**power <= largest]
    return sizes if sizes[-1] == largest else [*sizes, largest]
