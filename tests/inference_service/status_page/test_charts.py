from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.cards.batch_limit import BatchTiming
from inference_service.status_page.charts import HEIGHT, WIDTH, batch_curve, sparkline

TIMINGS = (BatchTiming(1, 0.1), BatchTiming(2, 0.1), BatchTiming(4, 0.16), BatchTiming(8, 0.4))


def test_a_curve_rises_with_images_per_second_and_goes_right_with_batch_size() -> None:
    curve = batch_curve(TIMINGS, 4)
    assert curve is not None
    assert [round(one.images_per_second) for one in curve.points] == [10, 20, 25, 20]
    xs, ys = [one.x for one in curve.points], [one.y for one in curve.points]
    # Sizes double, and each step is as wide as the last.
    assert xs == sorted(xs)
    assert xs[1] - xs[0] == pytest.approx(xs[3] - xs[2], abs=0.2)
    # Higher is smaller in a drawing.
    assert ys[0] > ys[1] > ys[2] < ys[3]
    assert curve.line.split()[0] == f"{xs[0]:g},{ys[0]:g}"


def test_the_limit_is_marked_where_it_was_measured() -> None:
    curve = batch_curve(TIMINGS, 4)
    assert curve is not None
    assert [one.batch_size for one in curve.points if one.chosen] == [4]
    assert curve.limit_x == curve.points[2].x


def test_a_limit_that_was_not_measured_is_marked_between() -> None:
    curve = batch_curve(TIMINGS, 6)
    assert curve is not None
    assert not any(one.chosen for one in curve.points)
    assert curve.points[2].x < curve.limit_x < curve.points[3].x


def test_the_words_say_what_the_chart_shows() -> None:
    curve = batch_curve(TIMINGS, 4)
    assert curve is not None
    assert curve.words == (
        "Images per second by batch size: 1: 10.0, 2: 20.0, 4: 25.0, 8: 20.0. The limit is 4."
    )


def test_numbers_beside_the_axis_read_well_and_hold_the_highest_point() -> None:
    curve = batch_curve(TIMINGS, 4)
    assert curve is not None
    assert [tick.text for tick in curve.rates] == ["0", "12.5", "25"]


@pytest.mark.parametrize(
    ("rate", "texts"),
    [
        (0.03, ["0", "0.025", "0.05"]),
        (9_000, ["0", "5,000", "10k"]),
        (19_000, ["0", "10k", "20k"]),
        (3e6, ["0", "2.5M", "5M"]),
        (9e9, ["0", "5G", "10G"]),
    ],
)
def test_numbers_beside_the_axis_are_short(rate: float, texts: list[str]) -> None:
    curve = batch_curve([BatchTiming(1, 1 / rate)], 1)
    assert curve is not None
    assert [tick.text for tick in curve.rates] == texts


def test_a_single_size_is_in_the_middle() -> None:
    curve = batch_curve([BatchTiming(4, 0.1)], 4)
    assert curve is not None
    assert curve.points[0].x == curve.limit_x
    assert 0 < curve.limit_x < WIDTH


def test_nothing_is_drawn_without_a_measurement() -> None:
    assert batch_curve([], 4) is None
    assert batch_curve([BatchTiming(1, 0.0)], 4) is None


@given(
    st.lists(
        st.tuples(st.integers(1, 4096), st.floats(0, 1e6, allow_nan=False)), min_size=1, max_size=14
    ),
    st.integers(1, 4096),
)
def test_whatever_was_measured_stays_inside_the_drawing(
    measured: list[tuple[int, float]], limit: int
) -> None:
    curve = batch_curve([BatchTiming(*one) for one in sorted(measured)], limit)
    if curve is None:
        assert all(math.isinf(BatchTiming(*one).images_per_second) for one in measured)
        return
    assert 0 <= curve.limit_x <= WIDTH
    for point in curve.points:
        assert 0 <= point.x <= WIDTH
        assert 0 <= point.y <= HEIGHT


def test_a_sparkline_ends_at_the_right_edge_and_its_highest_is_at_the_top() -> None:
    points = [tuple(map(float, one.split(","))) for one in sparkline([0, 5, 10], 118, 20).split()]
    assert points == [(114.0, 19.0), (116.0, 10.0), (118.0, 1.0)]


def test_a_sparkline_of_nothing_is_flat_and_one_look_is_no_line() -> None:
    assert {one.split(",")[1] for one in sparkline([0.0] * 60, 118, 20).split()} == {"19.0"}
    assert sparkline([0.0] * 60, 118, 20).startswith("0.0,")
    assert sparkline([3.0], 118, 20) == ""
