from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait

import pytest

from inference_service.cards.batch_run import BatchRun
from inference_service.cards.batching import Priority
from inference_service.cards.card import Card
from inference_service.cards.card_answer import CardAnswer
from inference_service.cards.card_spec import CardLimits
from inference_service.cards.status import BatchCounts, CardStatus, RunCounter
from service_kit import errors
from tests.support.cards import submit
from tests.support.engines import MeanEngine, pixels
from tests.support.servables import mean_servable

WAIT = 30.0


@pytest.fixture
def engine() -> Iterator[MeanEngine]:
    one = MeanEngine()
    yield one
    one.gate.set()


def ended(status: CardStatus) -> int:
    """Returns how many requests of one image have ended."""
    counts = status.counts
    return (
        counts.answered_images
        + counts.failed_requests
        + counts.expired_requests
        + counts.cancelled_requests
        + counts.refused_requests
    )


def check(status: CardStatus) -> None:
    """Checks what holds of every status on its own; every request has one image."""
    runs = status.counts.runs
    assert 0 <= status.waiting_images <= status.outstanding_images
    assert (status.outstanding_images == 0) == (status.outstanding_bytes == 0)
    assert status.outstanding_bytes == status.outstanding_images * pixels(0).nbytes
    assert runs.batches == sum(one.batches for one in runs.by_size.values())
    computed = sum(size * one.batches for size, one in runs.by_size.items())
    assert status.counts.answered_images <= computed
    assert status.healthy or status.last_error


def drain(card: Card, answers: list[Future[CardAnswer]]) -> list[CardStatus]:
    """Looks at a card, as often as that goes, until all have their answers."""
    seen = [card.status()]
    while not all(one.done() for one in answers):
        seen.append(card.status())
    return [*seen, card.status()]


def test_every_request_is_either_outstanding_or_counted_in_every_look(engine: MeanEngine) -> None:
    servable = mean_servable(engine, limits=CardLimits(4, queue_images=10_000))
    (card,) = servable.cards
    for round_ in range(1, 6):
        engine.gate.clear()
        values = [engine.poison if n % 50 == 7 else float(n) for n in range(300)]
        answers = [submit(card, {"input": pixels(value)}) for value in values]
        gone = answers[200:250]
        cancelling = threading.Thread(target=lambda gone=gone: [one.cancel() for one in gone])
        engine.gate.set()
        cancelling.start()
        seen = drain(card, answers)
        cancelling.join()
        for status in [*seen, card.status()]:
            check(status)
            assert ended(status) + status.outstanding_images == round_ * len(values)
        assert card.status().outstanding_images == 0
    counts = card.status().counts
    assert counts.failed_requests >= 5
    assert counts.answered_images + counts.failed_requests + counts.cancelled_requests == 1500
    servable.close()


def test_looks_agree_while_several_threads_ask_and_are_refused(engine: MeanEngine) -> None:
    servable = mean_servable(engine, limits=CardLimits(3, queue_images=8))
    (card,) = servable.cards
    asked, refused = [0] * 4, [0] * 4

    def ask(thread: int) -> None:
        waiting: list[Future[CardAnswer]] = []
        for n in range(200):
            priority = Priority.BULK if n % 3 == 0 else Priority.INTERACTIVE
            try:
                waiting.append(submit(card, {"input": pixels(n)}, priority=priority))
            except errors.QueueFull:
                refused[thread] += 1
            asked[thread] += 1
        wait(waiting, WAIT)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for one in threads:
        one.start()
    done = 0
    while any(one.is_alive() for one in threads):
        before = sum(asked)
        status = card.status()
        check(status)
        # One that is being asked may be in it already.
        assert before <= ended(status) + status.outstanding_images <= sum(asked) + len(threads)
        # Nothing that was counted is taken back.
        assert ended(status) >= done
        done = ended(status)
    status = card.status()
    assert ended(status) == sum(asked) == 800
    assert status.counts.refused_requests == sum(refused)
    servable.close()


def test_a_status_stays_what_it_was(engine: MeanEngine) -> None:
    servable = mean_servable(engine)
    (card,) = servable.cards
    submit(card, {"input": pixels(1, 2)}).result(WAIT)
    before = card.status()
    sizes = dict(before.counts.runs.by_size)
    submit(card, {"input": pixels(1)}).result(WAIT)
    servable.limit(lambda _: CardLimits(9))
    assert (before.counts.answered_images, before.limits.batch) == (2, 4)
    assert before.counts.runs.by_size == sizes
    after = card.status()
    assert (after.counts.answered_images, after.limits.batch, after.index) == (3, 9, 0)
    assert after.counts.runs.by_size.keys() == {1, 2}
    servable.close()


def test_a_card_that_hangs_has_an_error_before_anybody_has_given_up_on_it(
    engine: MeanEngine,
) -> None:
    now = [100.0]
    servable = mean_servable(engine, clock=lambda: now[0])
    (card,) = servable.cards
    engine.gate.clear()
    submit(card, {"input": pixels(1)})
    assert engine.started.acquire(timeout=WAIT)
    now[0] += 1000
    status = card.status()
    assert (status.healthy, status.last_error) == (False, "a run does not end")
    engine.gate.set()
    servable.close()


def test_batches_add_up_by_their_sizes() -> None:
    counter = RunCounter()
    for images in (4, 1, 4):
        run = BatchRun(0, images, 4, began=1.0, stacked=1.25, computed=2.25, ended=2.75)
        counter.add(run, 1, 2)
    counts = counter.counts()
    assert counts.by_size == {
        4: BatchCounts(2, input_seconds=0.5, compute_seconds=2.0, output_seconds=1.0),
        1: BatchCounts(1, input_seconds=0.25, compute_seconds=1.0, output_seconds=0.5),
    }
    assert (counts.batches, counts.busy_seconds) == (3, 3.0)
    assert (counts.non_finite_inputs, counts.non_finite_outputs) == (3, 6)
