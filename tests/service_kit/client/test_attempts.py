from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service_kit import errors
from service_kit.client.attempts import Attempts, check_seconds
from service_kit.client.retry import RetryPolicy

STOPPING = errors.ServerStopping("away")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# Where adding up what passes rounds the rest to nothing.
@example(2, 1.1, [(1.0, 1.0)])
@given(
    st.integers(1, 20),
    st.floats(0.001, 60),
    st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1)), max_size=30),
)
def test_tries_and_pauses_stay_within_attempts_and_deadline(
    attempts: int, seconds: float, steps: list[tuple[float, float]]
) -> None:
    clock = Clock()
    draws = [uniform for _, uniform in steps]
    made_attempts = Attempts(
        RetryPolicy(attempts=attempts), seconds, clock=clock, uniform=lambda: draws.pop(0)
    )
    made = 0
    for took, _ in steps:
        made += 1
        clock.now += min(took, made_attempts.left)
        left = made_attempts.left
        try:
            pause = made_attempts.pause_after(STOPPING)
        except errors.ServerStopping:
            break
        clock.now += pause
        assert pause < left or pause == 0
    assert made <= attempts
    assert clock.now <= 1000 + seconds + 1e-6


def test_the_last_error_is_raised_as_it_is() -> None:
    made_attempts = Attempts(RetryPolicy(attempts=2), None, uniform=lambda: 0.5)
    assert made_attempts.pause_after(STOPPING) == 0.05
    last = errors.QueueFull("full", retry_after=3)
    with pytest.raises(errors.QueueFull) as caught:
        made_attempts.pause_after(last)
    assert caught.value is last


def test_what_is_not_repeatable_is_tried_once() -> None:
    with pytest.raises(errors.ServerStopping):
        Attempts(RetryPolicy(), None, repeatable=False).pause_after(STOPPING)


def test_time_runs_through_all_tries() -> None:
    clock = Clock()
    made_attempts = Attempts(RetryPolicy(), 10, clock=clock)
    clock.now += 4
    assert made_attempts.timeout == 6
    clock.now += 40
    assert made_attempts.timeout == 0
    assert Attempts(RetryPolicy(), None).timeout is None


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [(None, None), (0, 0.0), (2, 2.0), (1.5, 1.5), (math.inf, None), (1e300, None)],
)
def test_timeouts_are_seconds_or_no_limit(timeout: Any, seconds: float | None) -> None:
    assert check_seconds(timeout) == seconds


@pytest.mark.parametrize("timeout", [-1, math.nan, "5", [], object()])
def test_a_timeout_that_is_none_is_refused(timeout: Any) -> None:
    with pytest.raises(errors.InvalidRequest, match="is no number of seconds"):
        check_seconds(timeout)
