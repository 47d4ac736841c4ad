from __future__ import annotations

import math

import pytest

from inference_service.status_page import number_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (45.4, "45 s"),
        (60, "1 min"),
        (3599.6, "1 h"),
        (3725, "1 h 2 min"),
        (86_400 * 3 + 61, "3 d"),
        (86_400 * 3 + 7201, "3 d 2 h"),
    ],
)
def test_durations_have_their_two_largest_units(seconds: float, text: str) -> None:
    assert number_text.duration_text(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.04, "0.0"), (3.44, "3.4"), (99.94, "99.9"), (1234.5, "1,234"), (math.inf, "-")],
)
def test_rates_have_the_digits_that_mean_something(number: float, text: str) -> None:
    assert number_text.rate_text(number) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0%"), (0.001, "<1%"), (0.37, "37%"), (0.995, ">99%"), (1, "100%")]
)
def test_a_share_says_all_or_nothing_only_where_it_is(share: float, text: str) -> None:
    assert number_text.percent_text(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.000213, "0.21 ms"), (0.0123, "12.3 ms"), (1.25, "1,250 ms")]
)
def test_short_times_are_milliseconds(seconds: float, text: str) -> None:
    assert number_text.milliseconds_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1, "<0.1"), (2**20, "1"), (2**20 * 3 // 2, "1.5"), (256 * 2**20, "256")],
)
def test_sizes_are_mebibytes_as_the_options_have_them(size: int, text: str) -> None:
    assert number_text.mebibytes_text(size) == text


def test_counts_and_differences() -> None:
    assert number_text.counted_text(1, "batch", "batches") == "1 batch"
    assert number_text.counted_text(1234, "image") == "1,234 images"
    assert number_text.difference_text(0) == "0"
    assert number_text.difference_text(1.234e-7) == "1.2e-07"
    assert number_text.difference_text(math.nan) == "nan"


def test_long_texts_are_cut_visibly() -> None:
    assert number_text.clipped("abc", 10) == "abc"
    assert number_text.clipped("a" * 20, 10) == "aaaa [cut]"
