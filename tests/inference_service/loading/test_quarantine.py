from __future__ import annotations

import pytest

from inference_service.loading.quarantine import NEVER, Suspect

DAY = 86400.0


def suspect(deaths: int, faults: int = 0, *, alone: bool = True) -> Suspect:
    return Suspect("m", 1, deaths, faults, alone, last=1000.0)


@pytest.mark.parametrize(
    ("one", "seconds"),
    [
        (suspect(0), 0.0),
        (suspect(1, 1), 0.0),
        (suspect(2, 2), NEVER),
        (suspect(2, 1), 900.0),
        (suspect(3), 3600.0),
        (suspect(10_000), DAY),
        # Another load may have been the cause.
        (suspect(3, 3, alone=False), 0.0),
        (suspect(4, 4, alone=False), NEVER),
    ],
)
def test_two_deaths_keep_a_graph_out_for_ever_if_it_was_their_cause(
    one: Suspect, seconds: float
) -> None:
    assert one.seconds_left(1000.0) == seconds
    assert one.is_quarantined == (seconds > 0)


def test_the_pause_ends() -> None:
    assert suspect(2).seconds_left(1899.0) == 1.0
    assert suspect(2).seconds_left(1900.0) == 0.0


@pytest.mark.parametrize("now", [-1e12, 1000.0])
def test_a_clock_that_jumps_makes_no_pause_longer(now: float) -> None:
    assert suspect(2).seconds_left(now) == 900.0
