from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from inference_service.cards.batch_tensors import size_in_bytes
from inference_service.cards.batching import Priority
from inference_service.cards.card_answer import CardAnswer
from inference_service.cards.card_spec import CardLimits
from inference_service.models.servable import Servable
from service_kit import errors
from tests.support.cards import ThreadAnswers
from tests.support.engines import MeanEngine, pixels
from tests.support.servables import mean_servable

WAIT = 30.0


class SelectiveEngine(MeanEngine):
    """Does not come back from the image `endless` before `end` is set."""

    endless = 1000.0

    def __init__(self) -> None:
        super().__init__()
        self.end = threading.Event()

    def run(self, card: int, inputs: Any) -> Any:
        if (inputs["input"] == self.endless).any():
            self.started.release()
            assert self.end.wait(WAIT)
        return super().run(card, inputs)


@pytest.fixture
def engine() -> Iterator[MeanEngine]:
    one = MeanEngine()
    yield one
    one.gate.set()


def ask(servable: Servable, *values: float, card: int | None = None) -> list[Any]:
    inputs = {"input": pixels(*values)}
    reservation = servable.reserve(
        len(values),
        size_in_bytes(inputs),
        card=card,
        deadline=None,
        priority=Priority.INTERACTIVE,
        asker=(asker := ThreadAnswers()),
        inputs=inputs,
    )
    return [asker.of(one.request) for one in reservation.shares]


def answers(futures: list[Any]) -> list[CardAnswer]:
    return [one.result(WAIT) for one in futures]


def test_a_large_request_is_spread_over_idle_cards_and_comes_back_in_order(
    engine: MeanEngine,
) -> None:
    servable = mean_servable(engine, cards=3, limits=CardLimits(4))
    parts = answers(ask(servable, *range(12)))
    assert [one.card for one in parts] == [1, 0, 2]
    values = [value for one in parts for value in one.outputs["probs"][:, 0]]
    assert values == list(range(12))
    (whole,) = answers(ask(servable, *range(12), card=1))
    assert whole.card == 1
    servable.close()


def test_nothing_is_queued_when_a_card_is_full(engine: MeanEngine) -> None:
    servable = mean_servable(engine, cards=2, limits=CardLimits(4, queue_images=5))
    engine.gate.clear()
    held = [*ask(servable, 0, card=0), *ask(servable, 0, card=1)]
    for _ in held:
        assert engine.started.acquire(timeout=WAIT)
    with pytest.raises(errors.QueueFull):
        ask(servable, *range(8))
    assert [card.status().outstanding_images for card in servable.cards] == [1, 1]
    engine.gate.set()
    answers(held)
    servable.close()


def test_a_card_out_of_order_is_avoided_and_its_queue_answered_by_others(
    engine: MeanEngine,
) -> None:
    servable = mean_servable(engine, cards=2, limits=CardLimits(1, queue_images=100))
    engine.gate.clear()
    engine.broken_cards.add(0)
    waiting = [one for n in range(20) for one in ask(servable, n)]
    engine.gate.set()
    # The first two failed as requests may; with the third the card is suspected and probed.
    outcomes = [one.exception(WAIT) for one in waiting]
    assert sum(error is not None for error in outcomes) == 2
    for n, (one, error) in enumerate(zip(waiting, outcomes, strict=True)):
        if error is None:
            assert one.result().card == 1
            assert one.result().outputs["probs"][0, 0] == n
    assert [card.healthy for card in servable.cards] == [False, True]
    assert {one.card for n in range(4) for one in answers(ask(servable, n))} == {1}
    with pytest.raises(errors.CardOutOfOrder, match="card 0 is out of order"):
        ask(servable, 1, card=0)
    assert servable.healthy
    servable.close()


def test_a_version_whose_cards_are_all_out_of_order_says_so(engine: MeanEngine) -> None:
    servable = mean_servable(engine, cards=2)
    engine.broken_cards.update((0, 1))
    for card in (0, 1):
        while servable.card(card).healthy:
            assert ask(servable, 1, card=card)[0].exception(WAIT)
    with pytest.raises(errors.CardOutOfOrder, match="all cards of model m version 1") as caught:
        ask(servable, 1)
    assert caught.value.retry_after
    assert not servable.healthy
    servable.close()


def test_what_must_not_be_packed_is_not_spread_either(engine: MeanEngine) -> None:
    servable = mean_servable(engine, cards=3, packs=False)
    assert len(ask(servable, *range(12))) == 1
    servable.close()


def test_a_card_that_runs_for_nobody_is_busy(engine: MeanEngine) -> None:
    servable = mean_servable(engine, cards=2)
    engine.gate.clear()
    (abandoned,) = ask(servable, 7, card=0)
    assert engine.started.acquire(timeout=WAIT)
    abandoned.cancel()
    (later,) = ask(servable, 1)
    assert [card.status().outstanding_images for card in servable.cards] == [0, 1]
    engine.gate.set()
    assert later.result(WAIT).card == 1
    servable.close()


def test_a_card_whose_run_does_not_end_is_avoided_and_its_queue_answered_by_others() -> None:
    now = [100.0]
    engine = SelectiveEngine()
    servable = mean_servable(engine, cards=2, limits=CardLimits(1, 100), clock=lambda: now[0])
    (stuck,) = ask(servable, engine.endless, card=0)
    assert engine.started.acquire(timeout=WAIT)
    (pinned,) = ask(servable, 1, card=0)
    waiting = [one for n in range(6) for one in ask(servable, n)]
    now[0] += 31
    servable.check_runs()
    assert [one.card for one in answers(waiting)] == [1] * 6
    assert isinstance(stuck.exception(WAIT), errors.EngineFailed)
    assert isinstance(pinned.exception(WAIT), errors.CardOutOfOrder)
    assert [card.healthy for card in servable.cards] == [False, True]
    assert servable.healthy
    assert {one.card for n in range(4) for one in answers(ask(servable, n))} == {1}
    engine.end.set()
    while not servable.cards[0].healthy:
        threading.Event().wait(0.001)
    servable.close()
    assert engine.closed


def test_closing_leaves_an_engine_alone_that_is_in_use() -> None:
    now = [100.0]
    engine = SelectiveEngine()
    servable = mean_servable(engine, cards=2, clock=lambda: now[0])
    (stuck,) = ask(servable, engine.endless, card=0)
    assert engine.started.acquire(timeout=WAIT)
    now[0] += 31
    servable.close()
    assert not engine.closed
    assert isinstance(stuck.exception(WAIT), errors.EngineFailed)
    engine.end.set()


def test_limits_may_change_later(engine: MeanEngine) -> None:
    servable = mean_servable(engine, cards=2)
    servable.limit(lambda spec: CardLimits(spec.tower.index + 1))
    assert [card.limits.batch for card in servable.cards] == [1, 2]
    servable.close()


def test_closing_answers_what_is_queued_and_frees_the_engine(engine: MeanEngine) -> None:
    servable = mean_servable(engine, cards=2)
    waiting = ask(servable, *range(8))
    servable.close()
    assert all(one.done() for one in waiting)
    assert engine.closed
    with pytest.raises(errors.ServerStopping):
        ask(servable, 1)


def test_a_request_goes_to_a_card_that_reaches_it_and_is_refused_when_none_does(
    engine: MeanEngine,
) -> None:
    now = [100.0]
    servable = mean_servable(engine, cards=2, clock=lambda: now[0], limits=CardLimits(4, 100))

    def run(card: int, seconds: float) -> None:
        engine.gate.clear()
        (answer,) = ask(servable, 0.0, card=card)
        assert engine.started.acquire(timeout=WAIT)
        now[0] += seconds
        engine.gate.set()
        answer.result(WAIT)
        while servable.cards[card].load:
            threading.Event().wait(0.001)

    def reserve(left: float) -> int:
        deadline = now[0] + left
        reservation = servable.reserve(
            1,
            8,
            card=None,
            deadline=deadline,
            priority=Priority.INTERACTIVE,
            asker=ThreadAnswers(),
        )
        reservation.cancel()
        return reservation.shares[0].card.index

    for _ in range(3):
        run(0, 5.0)
        run(1, 0.4)
    run(0, 5.0)
    run(1, 0.4)
    # Card 0 takes 5 s and has nothing to do, card 1 has something.
    engine.gate.clear()
    engine.forget()
    (waiting,) = ask(servable, 0.0, card=1)
    assert engine.started.acquire(timeout=WAIT)
    assert {reserve(1.5) for _ in range(4)} == {1}
    assert {reserve(6.0) for _ in range(4)} == {0}
    for _ in range(20):
        ask(servable, 1.0, card=1)
    with pytest.raises(errors.DeadlineExpired):
        reserve(0.3)
    with pytest.raises(errors.PbserveError):
        reserve(1.5)
    counts = [card.status().counts for card in servable.cards]
    # One that is refused is counted once.
    assert sum(one.refused_requests + one.expired_requests for one in counts) == 2
    engine.gate.set()
    waiting.result(WAIT)
    servable.close()
