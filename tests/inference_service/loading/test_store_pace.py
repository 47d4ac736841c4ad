from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.loading.store_pace import StorePace


def failing(pace: StorePace, times: int, seconds: float = 1.0) -> list[float]:
    """Returns the pauses between looks that all fail, found by trying."""
    now, pauses = 0.0, []
    for _ in range(times):
        pace.looked(ok=False, seconds=seconds, now=now)
        later = now
        while not pace.is_due(later):
            later += 0.25
        pauses.append(later - now)
        now = later
    return pauses


def test_pauses_double_after_failures_up_to_a_minute() -> None:
    assert failing(StorePace(lambda: 0.5), 8) == [2, 4, 8, 16, 32, 60, 60, 60]


def test_who_looks_seldom_goes_on_doing_so() -> None:
    assert failing(StorePace(lambda: 0.5), 2, seconds=300) == [300, 300]


def test_one_success_ends_it() -> None:
    pace = StorePace(lambda: 0.5)
    failing(pace, 5)
    pace.looked(ok=True, seconds=1, now=100)
    assert pace.is_due(100)
    assert failing(pace, 1) == [2]


def test_servers_that_lost_one_store_together_do_not_come_back_in_step() -> None:
    first = {failing(StorePace(lambda part=part: part), 1)[0] for part in (0.0, 0.25, 0.5, 1.0)}  # type: ignore[misc]
    assert first == {1.0, 1.5, 2.0, 3.0}


@pytest.mark.parametrize(("part", "pause"), [(0.0, 0.9), (0.5, 1.0), (1.0, 1.1)])
def test_regular_looks_are_spread_by_a_tenth(part: float, pause: float) -> None:
    assert StorePace(lambda: part).pause(1.0) == pytest.approx(pause)


@given(st.integers(1, 2000), st.floats(0, 1), st.floats(0.01, 1000))
def test_no_pause_is_longer_than_one_and_a_half_of_the_longest(
    times: int, part: float, seconds: float
) -> None:
    pace, now = StorePace(lambda: part), 0.0
    for _ in range(times):
        pace.looked(ok=False, seconds=seconds, now=now)
    assert pace.is_due(now + 1.5 * max(60.0, seconds) + 1e-6)


def test_the_schedule_never_gets_faster_while_it_fails() -> None:
    pauses = failing(StorePace(lambda: 0.5), 20)
    assert all(before <= after for before, after in pairwise(pauses))
