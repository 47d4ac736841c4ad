from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from inference_service.status_page.bars import Bar, bars
from inference_service.wire.scored_class import ScoredClass


def test_probabilities_fill_their_share_and_have_their_labels() -> None:
    assert bars([ScoredClass(3, 0.9, "three"), ScoredClass(8, 0.1, "")]) == (
        Bar("three", "90.00%", 90.0),
        Bar("class 8", "10.00%", 10.0),
    )


def test_other_scores_are_set_against_the_largest() -> None:
    assert bars([ScoredClass(0, 20, ""), ScoredClass(1, 5, ""), ScoredClass(2, -5, "")]) == (
        Bar("class 0", "20", 100.0),
        Bar("class 1", "5", 25.0),
        Bar("class 2", "-5", 0.0),
    )


def test_what_is_no_number_fills_nothing() -> None:
    classes = [ScoredClass(0, math.inf, ""), ScoredClass(1, 0.5, ""), ScoredClass(2, math.nan, "")]
    assert [(one.score, one.filled) for one in bars(classes)] == [
        ("inf", 0.0),
        ("0.5", 100.0),
        ("nan", 0.0),
    ]
    assert bars([ScoredClass(0, math.nan, "")]) == (Bar("class 0", "nan", 0.0),)
    assert bars([]) == ()


@given(st.lists(st.floats()))
def test_no_bar_is_longer_than_its_place(scores: list[float]) -> None:
    assert all(0 <= one.filled <= 100 for one in bars([ScoredClass(0, s, "") for s in scores]))
