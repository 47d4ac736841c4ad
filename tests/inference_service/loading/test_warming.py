from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from inference_service.loading.warming import warm
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec, Tower
from service_kit.frozen_graph.blank_run import blank
from tests.support.manifests import tower


class Machine:
    """Answers after as many seconds as a test says; its own clock shows them."""

    def __init__(self, seconds: Mapping[int, float] | float, classes: int = 3) -> None:
        self.now, self.ran, self.answer = 0.0, list[int](), np.zeros((0, classes), np.float32)
        self._seconds = seconds

    def run(self, inputs: Any) -> Any:
        images = len(inputs["input"])
        self.ran.append(images)
        # The first run of a size prepares it.
        first = 100.0 if self.ran.count(images) == 1 else 0.0
        self.now += first + (
            self._seconds if isinstance(self._seconds, float) else self._seconds[images]
        )
        return {"probs": np.zeros((images, *self.answer.shape[1:]), self.answer.dtype)}

    def clock(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "largest", "sizes"),
    [
        (1.0, 8, [1, 2, 4, 8]),
        # The largest is tried, be it no power of two.
        (1.0, 6, [1, 2, 4, 6]),
        (1.0, 1, [1]),
        # Nothing is tried behind two that were not worth it.
        ({1: 1.0, 2: 1.5, 4: 4.0, 8: 8.0}, 32, [1, 2, 4, 8]),
    ],
)
def test_batches_grow_while_it_is_worth_it(seconds: Any, largest: int, sizes: list[int]) -> None:
    machine = Machine(seconds)
    timings = warm(machine.run, tower(), largest, machine.clock)
    assert [one.batch_size for one in timings] == sizes
    # The first run of a size is not what it takes.
    assert max(one.seconds for one in timings) < 100


def test_batches_do_not_grow_beyond_the_memory_that_they_may_take() -> None:
    machine = Machine(1.0)

    def peak_of(work: Callable[[], object]) -> int:
        work()
        return 100 * machine.ran[-1]

    timings = warm(machine.run, tower(), 32, machine.clock, max_bytes=450, peak_of=peak_of)
    assert [(one.batch_size, one.peak_bytes) for one in timings] == [(1, 100), (2, 200), (4, 400)]


def test_the_fastest_of_several_runs_counts_and_long_ones_are_not_repeated() -> None:
    runs = []
    for seconds in (0.001, 0.1, 0.6):
        machine = Machine(seconds)
        warm(machine.run, tower(), 1, machine.clock)
        runs.append(len(machine.ran) - 1)
    assert runs == [20, 3, 1]


def test_a_graph_for_one_image_is_warmed_with_that() -> None:
    machine = Machine(1.0)
    timings = warm(machine.run, tower(), 1, machine.clock)
    assert [one.batch_size for one in timings] == [1]


def test_images_are_warmed_in_the_sizes_that_they_were_proven_with() -> None:
    spec = TensorSpec("input", "input:0", "uint8", (-1, -1, -1, 3), (40, 60, 3))
    assert blank(replace(tower(), inputs=(spec,)), 2)["input"].shape == (2, 40, 60, 3)


def test_images_of_any_size_are_warmed_with_common_ones() -> None:
    spec = TensorSpec("input", "input:0", "uint8", (-1, -1, -1, 3))
    zeros = blank(replace(tower(), inputs=(spec,)), 2)["input"]
    assert zeros.shape == (2, 224, 224, 3)
    assert zeros.dtype == np.uint8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda machine: setattr(machine, "answer", np.zeros((0, 4), np.float32)), r"\[1, 4\]"),
        (lambda machine: setattr(machine, "answer", np.zeros((0, 3), np.float64)), "float64"),
    ],
)
def test_what_is_not_the_manifests_is_refused(
    change: Callable[[Machine], None], words: str
) -> None:
    machine = Machine(1.0)
    change(machine)
    with pytest.raises(errors.EngineFailed, match=f"card 0 answers 1 images with .*{words}"):
        warm(machine.run, tower(), 4, machine.clock)


@pytest.mark.parametrize(
    ("runs", "seconds"), [((9.0, 0.3, 0.1, 0.2), 0.1), ((9.0, 0.1, 0.2, 0.3), 0.1)]
)
def test_the_first_run_never_counts_and_the_fastest_of_the_others_does(
    runs: tuple[float, ...], seconds: float
) -> None:
    took, now = iter(runs), [0.0]

    def run(inputs: Any) -> Any:
        now[0] += next(took)
        return {"probs": np.zeros((1, 3), np.float32)}

    (timing,) = warm(run, tower(), 1, lambda: now[0])
    assert timing.seconds == pytest.approx(seconds)


def answering(*shape: int) -> Callable[[Any], Any]:
    return lambda inputs: {"probs": np.zeros(shape, np.float32)}


def declaring(*shape: int) -> Tower:
    return replace(tower(), outputs=(TensorSpec("probs", "probs:0", "float32", shape),))


@pytest.mark.parametrize("shape", [(), (1,), (1, 3, 1), (2, 3), (0, 3)])
def test_outputs_of_another_rank_or_number_of_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(errors.EngineFailed, match="the manifest says float32"):
        warm(answering(*shape), tower(), 1, lambda: 0.0)


@pytest.mark.parametrize(("declared", "answered"), [((-1, -1, 3), (1, 7, 3)), ((-1,), (1,))])
def test_sizes_that_the_manifest_leaves_open_are_any(
    declared: tuple[int, ...], answered: tuple[int, ...]
) -> None:
    assert warm(answering(*answered), declaring(*declared), 1, lambda: 0.0)
