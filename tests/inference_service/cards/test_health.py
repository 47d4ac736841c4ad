from __future__ import annotations

import pytest

from inference_service.cards.batch_limit import BatchTiming
from inference_service.cards.health import CardHealth, run_allowance, seconds_an_image


def test_the_third_failure_in_a_row_makes_a_card_suspicious() -> None:
    health = CardHealth()
    assert [health.failed("x"), health.failed("x")] == [False, False]
    health.succeeded()
    assert [health.failed("x"), health.failed("x"), health.failed("y")] == [False, False, True]
    assert health.is_healthy(0.0)
    assert health.last_error == "y"


def test_only_a_probe_that_fails_takes_it_out_and_probes_get_rarer() -> None:
    health = CardHealth()
    for _ in range(3):
        health.failed("x")
    health.probed(100.0, None)
    assert health.is_healthy(100.0)
    pauses: list[float] = []
    now = 100.0
    for _ in range(9):
        health.probed(now, "gone")
        assert not health.is_healthy(now)
        assert health.probe_at is not None
        pauses.append(health.probe_at - now)
        now = health.probe_at
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert health.last_error == "gone"


def test_a_probe_that_succeeds_brings_it_back_as_new() -> None:
    health = CardHealth()
    health.probed(0.0, "gone")
    health.probed(1.0, "gone")
    health.probed(3.0, None)
    assert health.is_healthy(3.0)
    assert not health.failed("x")
    health.probed(10.0, "gone")
    assert health.probe_at == 11.0


def test_a_probe_that_succeeds_lays_the_blame_on_the_requests() -> None:
    health = CardHealth()
    assert [health.failed("x") for _ in range(3)] == [False, False, True]
    health.probed(0.0, None)
    assert [health.failed("x") for _ in range(3)] == [False, False, True]


def test_a_run_that_takes_too_long_takes_it_out_until_it_ends_and_a_probe_succeeds() -> None:
    health = CardHealth()
    health.began(100.0, 30.0)
    assert health.is_healthy(130.0)
    assert not health.is_healthy(130.1)
    assert health.overdue_at == 130.0
    health.suspended(131.0)
    health.ended(500.0)
    health.succeeded()
    assert not health.is_healthy(500.0)
    # It is to be probed now.
    assert health.probe_at is not None
    assert health.probe_at <= 500.0
    assert health.last_error == "a run took longer than the 30 s that it may"
    health.began(500.0, 30.0)
    health.ended(501.0)
    health.probed(501.0, None)
    assert health.is_healthy(1e9)


def test_a_run_that_ends_late_takes_it_out_though_nobody_looked_meanwhile() -> None:
    health = CardHealth()
    health.began(100.0, 30.0)
    health.ended(131.0)
    assert not health.is_healthy(131.0)
    assert health.probe_at == 131.0


def test_runs_that_end_in_time_leave_it_alone() -> None:
    health = CardHealth()
    for now in range(0, 1000, 30):
        health.began(now, 30.0)
        health.ended(now + 30.0)
        assert health.overdue_at is None
    assert health.is_healthy(1e9)


def test_callers_are_told_when_it_is_probed_and_a_second_where_nobody_knows() -> None:
    health = CardHealth()
    health.probed(100.0, "gone")
    health.probed(101.0, "gone")
    assert health.retry_after(101.5) == 1.5
    assert health.retry_after(200.0) == 1.0
    assert CardHealth().retry_after(0.0) == 1.0


@pytest.mark.parametrize(
    ("timings", "images", "seconds"),
    [
        ([], 8, 30.0),
        ([(1, 0.01), (8, 0.05)], 8, 30.0),
        # 20 times as long as at the slowest rate of warming, here that of one image.
        ([(1, 1.0), (8, 4.0)], 8, 160.0),
        ([(1, 1.0), (8, 4.0)], 2, 40.0),
        ([(8, 40.0)], 8, 800.0),
        # Images of four times the size that was warmed.
        ([(1, 1.0)], 4.0, 80.0),
    ],
)
def test_a_run_may_take_much_longer_than_in_warming_and_half_a_minute_in_any_case(
    timings: list[tuple[int, float]], images: float, seconds: float
) -> None:
    an_image = seconds_an_image([BatchTiming(*one) for one in timings])
    assert run_allowance(an_image, images) == seconds
