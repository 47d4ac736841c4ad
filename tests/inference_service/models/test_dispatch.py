from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.models.dispatch import Share, choose_card, spread


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
    assert choose_card(dict(enumerate(outstanding)), turn) == card


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(0, 1000))
def test_no_card_is_less_busy_than_the_chosen_one(outstanding: list[int], turn: int) -> None:
    assert outstanding[choose_card(dict(enumerate(outstanding)), turn)] == min(outstanding)


@given(st.integers(1, 8))
def test_idle_cards_share_evenly(cards: int) -> None:
    chosen = [choose_card(dict.fromkeys(range(cards), 0), turn) for turn in range(4 * cards)]
    assert all(chosen.count(card) == 4 for card in range(cards))


@pytest.mark.parametrize(
    ("images", "limit", "outstanding", "shares"),
    [
        (8, 8, {0: 0, 1: 0}, [Share(0, 0, 8)]),
        (9, 8, {0: 0, 1: 0}, [Share(0, 0, 4), Share(1, 4, 9)]),
        (16, 8, {0: 5, 1: 3}, [Share(1, 0, 16)]),
        (16, 8, {0: 5, 1: 0}, [Share(1, 0, 16)]),
        (24, 8, {0: 0, 2: 0, 5: 0}, [Share(0, 0, 8), Share(2, 8, 16), Share(5, 16, 24)]),
    ],
)
def test_many_images_are_spread_over_idle_cards(
    images: int, limit: int, outstanding: dict[int, int], shares: list[Share]
) -> None:
    assert spread(images, limit, outstanding, 0) == shares


@given(
    st.integers(1, 200),
    st.integers(1, 32),
    st.dictionaries(st.integers(0, 9), st.integers(0, 2), min_size=1),
    st.integers(0, 100),
)
def test_no_image_is_lost_doubled_or_moved(
    images: int, limit: int, outstanding: dict[int, int], turn: int
) -> None:
    shares = spread(images, limit, outstanding, turn)
    covered = [image for one in shares for image in range(one.start, one.stop)]
    assert covered == list(range(images))
    assert all(one.start < one.stop for one in shares)
    cards = [one.card for one in shares]
    assert len(set(cards)) == len(cards) <= -(-images // limit)
    assert cards[0] == choose_card(outstanding, turn)
    assert all(outstanding[card] == 0 for card in cards[1:])


@given(
    st.integers(1, 200),
    st.integers(1, 32),
    st.dictionaries(st.integers(0, 9), st.integers(0, 2), min_size=1),
    st.integers(0, 100),
)
def test_shares_are_even_and_on_as_many_cards_as_help(
    images: int, limit: int, outstanding: dict[int, int], turn: int
) -> None:
    shares = spread(images, limit, outstanding, turn)
    sizes = [one.stop - one.start for one in shares]
    assert max(sizes) - min(sizes) <= 1
    free = {choose_card(outstanding, turn), *(c for c, images in outstanding.items() if not images)}
    assert len(shares) == min(-(-images // limit), len(free))


@given(st.dictionaries(st.integers(0, 99), st.integers(0, 2), min_size=1), st.integers(0, 1000))
def test_ties_rotate_over_all_whatever_the_numbers_of_cards(
    outstanding: dict[int, int], turn: int
) -> None:
    chosen = {choose_card(outstanding, turn + n) for n in range(len(outstanding))}
    least = min(outstanding.values())
    assert chosen == {card for card, images in outstanding.items() if images == least}
