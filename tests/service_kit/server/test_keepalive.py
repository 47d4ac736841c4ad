from __future__ import annotations

import math

import pytest

from service_kit import errors
from service_kit.server.keepalive import Keepalive


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize(
    ("option", "place"),
    [("--keepalive-time", 0), ("--keepalive-timeout", 1), ("--min-ping-interval", 2)],
)
def test_what_is_no_time_is_refused_by_the_name_of_its_option(
    option: str, place: int, bad: float
) -> None:
    numbers = [60.0, 20.0, 5.0]
    numbers[place] = bad
    with pytest.raises(errors.InvalidRequest, match=f"give {option} as seconds: it is {bad}"):
        Keepalive(*numbers)


def test_an_answer_takes_time() -> None:
    with pytest.raises(errors.InvalidRequest, match="--keepalive-timeout more than 0 s"):
        Keepalive(timeout_seconds=0)
    Keepalive(seconds=0, least_ping_seconds=0)
