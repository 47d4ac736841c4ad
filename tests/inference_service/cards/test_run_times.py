from __future__ import annotations

import pytest

from inference_service.cards.batch_limit import BatchTiming
from inference_service.cards.run_times import Estimate, RunTimes

WARMED = (BatchTiming(1, 0.1), BatchTiming(2, 0.15), BatchTiming(4, 0.25), BatchTiming(8, 0.45))


class Runs:
    """Run times, and a clock that they move."""

    def __init__(self, warmed: tuple[BatchTiming, ...] = WARMED) -> None:
        self.now, self.times = 100.0, RunTimes(warmed)

    def run(self, images: int, seconds: float, *, ran: bool = True, weight: float = 1.0) -> None:
        self.times.began(self.now, images, weight)
        self.now += seconds
        self.times.ended(self.now, ran=ran)

    @property
    def known(self) -> Estimate:
        estimate = self.times.estimate(self.now)
        assert estimate is not None
        return estimate

    def seconds(self, images: int, weight: float = 1.0) -> float:
        return self.known.seconds(images, weight)


@pytest.fixture
def runs() -> Runs:
    return Runs()


def test_nothing_is_known_before_a_run_has_ended(runs: Runs) -> None:
    assert runs.times.estimate(runs.now) is None
    runs.times.began(runs.now, 1, 1.0)
    assert runs.times.estimate(runs.now + 50) is None
    runs.times.ended(runs.now, ran=False)
    assert runs.times.estimate(runs.now) is None


def test_runs_say_how_many_seconds_and_warming_how_they_grow(runs: Runs) -> None:
    for _ in range(3):
        runs.run(4, 0.5)
    assert runs.seconds(4) == pytest.approx(0.5)
    assert runs.seconds(1) == pytest.approx(0.2)
    assert runs.seconds(3) == pytest.approx(0.4)
    # Beyond what was tried nothing is known to be slower.
    assert runs.seconds(64) == runs.seconds(8) == pytest.approx(0.9)


def test_each_size_has_its_own_runs_when_it_has_any(runs: Runs) -> None:
    for _ in range(3):
        runs.run(8, 0.9)
        runs.run(1, 0.1)
    assert runs.seconds(8) == pytest.approx(0.9)
    assert runs.seconds(1) == pytest.approx(0.1)


def test_a_card_that_was_never_warmed_learns_from_its_runs() -> None:
    runs = Runs(())
    for _ in range(3):
        runs.run(4, 0.5)
    assert runs.seconds(4) == pytest.approx(0.5)


@pytest.mark.parametrize("stalled", [0, 1, 5, 9])
def test_a_run_that_stalls_changes_nothing(runs: Runs, stalled: int) -> None:
    for turn in range(10):
        runs.run(4, 30.0 if turn == stalled else 0.25)
        assert runs.seconds(4) == pytest.approx(0.25)


def test_a_spoiled_measurement_of_warming_changes_nothing() -> None:
    runs = Runs((BatchTiming(1, 30.0),))
    for _ in range(3):
        runs.run(1, 0.1)
        assert runs.seconds(1) == pytest.approx(0.1)


def test_it_follows_a_machine_that_gets_slower_and_faster(runs: Runs) -> None:
    for seconds in (0.25, 1.0, 0.125):
        for _ in range(16):
            runs.run(4, seconds)
        assert runs.seconds(4) == pytest.approx(seconds)


def test_an_idle_card_forgets_so_that_what_is_wrong_keeps_nobody_out(runs: Runs) -> None:
    for _ in range(20):
        runs.run(4, 10.0)
    assert runs.seconds(4) == pytest.approx(10.0)
    assert runs.times.estimate(runs.now + 0.9) is not None
    runs.now += 1.1
    assert runs.times.estimate(runs.now) is None
    # The one that may try then is believed.
    runs.run(4, 0.3)
    assert runs.seconds(4) == pytest.approx(0.25)
    runs.run(4, 0.3)
    assert runs.seconds(4) == pytest.approx(0.3)


def test_a_quick_card_forgets_sooner(runs: Runs) -> None:
    runs.run(1, 0.01)
    assert runs.times.estimate(runs.now + 0.039) is not None
    assert runs.times.estimate(runs.now + 0.041) is None


def test_what_runs_has_the_rest_of_its_time_to_take(runs: Runs) -> None:
    for _ in range(3):
        runs.run(4, 0.5)
    assert runs.known.running == 0
    runs.times.began(runs.now, 4, 1.0)
    runs.now += 0.4
    assert runs.known.running == pytest.approx(0.1)
    runs.now += 0.4
    assert runs.known.running == 0


def test_larger_images_take_longer(runs: Runs) -> None:
    for _ in range(3):
        runs.run(4, 2.0, weight=4.0)
    assert runs.seconds(4) == pytest.approx(0.5)
    assert runs.seconds(4, 4.0) == pytest.approx(2.0)


def test_the_way_back_is_measured_by_run_and_not_spoiled_by_a_stall(runs: Runs) -> None:
    runs.run(4, 0.5)
    quiet = runs.known.way_back
    for turn in range(8):
        runs.run(4, 0.5)
        for answer in range(8):
            late = 0.4 if turn == 5 else 0.01
            runs.times.returned(runs.now, runs.now + late + answer / 1000)
    # The last answer of each run, there and back.
    assert runs.known.way_back == pytest.approx(quiet + 2 * 0.017)
