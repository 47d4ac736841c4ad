from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.dispatch import choose_card


@pytest.mark.parametrize(
    ("outstanding", "turn", "card"),
    [
        ([0], 5, 0),
        ([3, 1, 2], 0, 1),
        ([0, 0, 0], 0, 0),
        ([0, 0, 0], 1, 1),
        ([0, 0, 0], 5, 2),
        ([1, 0, 0], 0, 1),
        ([0, 1, 0], 1, 2),
    ],
)
def test_the_least_busy_card_is_taken_and_ties_rotate(
    outstanding: list[int], turn: int, card: int
) -> None:
    assert choose_card(outstanding, turn) == card


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(0, 1000))
def test_no_card_is_less_busy_than_the_chosen_one(outstanding: list[int], turn: int) -> None:
    assert outstanding[choose_card(outstanding, turn)] == min(outstanding)


@given(st.integers(1, 8))
def test_idle_cards_share_evenly(cards: int) -> None:
    chosen = [choose_card([0] * cards, turn) for turn in range(4 * cards)]
    assert all(chosen.count(card) == 4 for card in range(cards))
