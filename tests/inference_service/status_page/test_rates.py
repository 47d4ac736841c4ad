from __future__ import annotations

import gc
import weakref

import pytest

from inference_service.cards.card import Card
from inference_service.status_page.rates import IDLE, Counted, Rate, Rates, rate_between
from tests.support.cards import submit
from tests.support.engines import MeanEngine, pixels
from tests.support.servables import mean_servable


def answer(card: Card, images: int) -> None:
    submit(card, {"input": pixels(*[1.0] * images)}).result(30)


@pytest.mark.parametrize(
    ("before", "after", "rate"),
    [
        (Counted(0, 0, 0), Counted(2, 10, 1.0), Rate(5.0, 0.5)),
        (Counted(7, 10, 3.0), Counted(8, 10, 3.0), IDLE),
        # A batch of 9 s that ended between two looks.
        (Counted(0, 0, 0), Counted(1, 4, 9.0), Rate(4.0, 1.0)),
        (Counted(5, 4, 1.0), Counted(5, 8, 2.0), IDLE),
        # Never below nothing, whatever was counted.
        (Counted(0, 9, 9.0), Counted(1, 1, 1.0), IDLE),
    ],
)
def test_a_rate_is_what_happened_between_two_looks(
    before: Counted, after: Counted, rate: Rate
) -> None:
    assert rate_between(before, after) == rate


def test_rates_are_those_of_the_last_five_seconds() -> None:
    servable = mean_servable()
    (card,) = servable.cards
    rates = Rates()
    for second in range(21):
        # 10 images a second, and from the 10th second on none.
        if 0 < second <= 10:
            answer(card, 10)
        rates.look(servable.cards, float(second))
        if second == 10:
            assert rates.of([card])[card].now.images_per_second == pytest.approx(10)
        if second == 12:
            assert rates.of([card])[card].now.images_per_second == pytest.approx(6)
    assert rates.of([card])[card].now == IDLE
    assert rates.of([card])[card].history[:2] == (0.0, 10.0)
    servable.close()


def test_a_minute_is_remembered_and_no_more() -> None:
    servable = mean_servable()
    (card,) = servable.cards
    rates = Rates()
    for second in range(100):
        answer(card, 1)
        rates.look(servable.cards, float(second))
    assert rates.of([card])[card].history == (1.0,) * 60
    servable.close()


def test_a_card_that_came_between_two_looks_began_from_nothing() -> None:
    servable = mean_servable()
    (card,) = servable.cards
    rates = Rates()
    rates.look([], 0.0)
    answer(card, 3)
    rates.look(servable.cards, 1.0)
    assert rates.of([card])[card].now.images_per_second == pytest.approx(3)
    servable.close()


def test_what_a_card_did_before_the_first_look_of_all_is_no_rate() -> None:
    servable = mean_servable()
    (card,) = servable.cards
    answer(card, 3)
    rates = Rates()
    rates.look(servable.cards, 1.0)
    assert rates.of([card])[card].now == IDLE
    servable.close()


def test_a_card_that_nobody_looked_at_is_idle() -> None:
    servable = mean_servable()
    (card,) = servable.cards
    assert Rates().of([card])[card].now == IDLE
    servable.close()


def test_looking_keeps_no_card_in_memory() -> None:
    engine = MeanEngine()
    servable = mean_servable(engine)
    rates = Rates()
    rates.look(servable.cards, 0.0)
    rates.look(servable.cards, 1.0)
    gone = weakref.ref(servable.cards[0])
    servable.close()
    del servable
    gc.collect()
    assert gone() is None
