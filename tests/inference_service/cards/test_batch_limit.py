from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.cards.batch_limit import BatchTiming, batch_limit, still_grows


def timings(*seconds: float) -> list[BatchTiming]:
    return [BatchTiming(2**power, took) for power, took in enumerate(seconds)]


@pytest.mark.parametrize(
    ("seconds", "limit"),
    [
        ((1.0,), 1),
        ((1.0, 1.0, 1.0), 4),
        # 16 is slower than 8 on CPUs.
        ((1.0, 1.5, 2.5, 4.5, 20.0), 8),
        # Twice the images in twice the time is no gain, nor are a few per cent.
        ((1.0, 2.0), 1),
        ((1.0, 1.95), 1),
        # One measurement may be spoilt, two in a row are no accident.
        ((1.0, 3.0, 2.0), 4),
        ((1.0, 3.0, 5.0, 1.0), 1),
        ((0.0, 1.0), 1),
    ],
)
def test_the_limit_is_where_images_per_second_stop_growing(
    seconds: tuple[float, ...], limit: int
) -> None:
    assert batch_limit(timings(*seconds)) == limit


def test_larger_sizes_are_tried_while_one_of_the_last_two_was_worth_it() -> None:
    assert still_grows([])
    assert still_grows(timings(1.0, 1.0))
    assert still_grows(timings(1.0, 2.0))
    assert not still_grows(timings(1.0, 2.0, 4.0))
    assert still_grows(timings(1.0, 2.0, 1.0, 4.0))


@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=8))
def test_no_smaller_size_has_more_images_per_second(seconds: list[float]) -> None:
    measured = timings(*seconds)
    limit = batch_limit(measured)
    best = next(one for one in measured if one.batch_size == limit)
    smaller = [one for one in measured if one.batch_size <= limit]
    assert best.images_per_second == max(one.images_per_second for one in smaller)
