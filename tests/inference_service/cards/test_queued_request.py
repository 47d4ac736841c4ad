from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from inference_service.cards.batch_run import BatchRun
from inference_service.cards.batching import Priority
from inference_service.cards.queued_request import QueuedRequest
from inference_service.cards.status import Ending
from service_kit import errors
from tests.support.cards import answer_of, asked
from tests.support.engines import pixels


class Counter:
    """A place that notes how it was freed."""

    def __init__(self) -> None:
        self.endings: list[Ending | None] = []

    @property
    def freed_times(self) -> int:
        return len(self.endings)

    def freed(self, request: QueuedRequest, ending: Ending | None) -> None:
        self.endings.append(ending)


def queued(images: int = 1, deadline: float | None = None) -> QueuedRequest:
    inputs = {"input": pixels(*range(images))}
    one = QueuedRequest(inputs, images, "a", Priority.INTERACTIVE, 10.0, deadline, pinned=False)
    asked(one)
    return one


def deliver(one: QueuedRequest, stop: int, began: float, seconds: float = 1.0) -> bool:
    start, one.done = one.done, stop
    outputs = {"probs": np.arange(start, stop)}
    stacked, computed = began + 0.25, began + 0.25 + seconds
    images = stop - start
    run = BatchRun(2, images, images, began, stacked, computed, ended=computed + 0.5)
    if not one.take(outputs, run):
        return False
    # As an engine does.
    one.leave(Ending.ANSWERED)
    one.asker.hear(one)
    return True


def test_parts_are_joined_in_order_and_times_added_up() -> None:
    one = queued(5)
    assert not deliver(one, 2, began=12.0)
    assert not deliver(one, 3, began=15.0)
    assert deliver(one, 5, began=16.0, seconds=3.0)
    answer = answer_of(one).result(0)
    assert answer.outputs["probs"].tolist() == [0, 1, 2, 3, 4]
    assert (answer.card, answer.batch_size) == (2, 2)
    assert (answer.queue_seconds, answer.compute_seconds) == (2.0, 5.0)
    assert (answer.input_seconds, answer.output_seconds) == (0.75, 1.5)


def test_its_batch_size_is_that_of_the_largest_and_waiting_is_never_negative() -> None:
    one = queued(5)
    assert not deliver(one, 4, began=9.0)
    assert deliver(one, 5, began=12.0)
    answer = answer_of(one).result(0)
    assert (answer.batch_size, answer.queue_seconds) == (4, 0.0)


def test_what_failed_goes_back_to_where_it_has_outputs() -> None:
    one = queued(5)
    deliver(one, 2, began=12.0)
    one.done = 4
    one.rewind()
    assert one.done == 2
    assert one.done == 2


@pytest.mark.parametrize(
    "end",
    [
        lambda one: deliver(one, 1, began=0.0),
        lambda one: one.refuse(errors.EngineFailed("x")),
        lambda one: one.leave(),
    ],
)
def test_its_place_is_freed_once_before_the_answer_is_known(
    end: Callable[[QueuedRequest], object],
) -> None:
    one, place = queued(), Counter()
    seen: list[int] = []
    answer_of(one).add_done_callback(lambda _: seen.append(place.freed_times))
    assert one.settle(place)
    end(one)
    one.leave()
    assert place.freed_times == 1
    assert seen == ([1] if answer_of(one).done() else [])


@pytest.mark.parametrize(
    ("end", "ending"),
    [
        (lambda one: deliver(one, 1, began=0.0), Ending.ANSWERED),
        (lambda one: one.refuse(errors.DeadlineExpired("x"), Ending.EXPIRED), Ending.EXPIRED),
        (lambda one: one.refuse(errors.InvalidTensor("x")), None),
        (lambda one: one.leave(), None),
    ],
)
def test_its_place_hears_how_it_ended(
    end: Callable[[QueuedRequest], object], ending: Ending | None
) -> None:
    one, place = queued(), Counter()
    one.settle(place)
    end(one)
    one.refuse(errors.EngineFailed("too late to count"), Ending.FAILED)
    assert place.endings == [ending]


def test_a_request_is_answered_once() -> None:
    one, other = queued(), queued()
    assert deliver(one, 1, began=12.0)
    assert not one.refuse(errors.EngineFailed("x"))
    assert answer_of(one).result(0).outputs["probs"].tolist() == [0]
    assert other.refuse(errors.EngineFailed("first"))
    assert not other.refuse(errors.EngineFailed("second"))
    assert not deliver(other, 1, began=12.0)
    with pytest.raises(errors.EngineFailed, match="first"):
        answer_of(other).result(0)


def test_a_place_can_be_taken_again_after_it_was_left() -> None:
    one, first, second = queued(), Counter(), Counter()
    one.settle(first)
    one.leave()
    assert one.settle(second)
    deliver(one, 1, began=12.0)
    assert (first.freed_times, second.freed_times) == (1, 1)


def test_who_was_cancelled_takes_no_place_and_no_answer() -> None:
    one, place = queued(), Counter()
    assert answer_of(one).cancel()
    assert not one.settle(place)
    assert not deliver(one, 1, began=0.0)
    assert not one.refuse(errors.EngineFailed("x"))
    assert place.freed_times == 0


def test_threads_that_free_a_place_together_free_it_once() -> None:
    for _ in range(50):
        one, place = queued(), Counter()
        one.settle(place)
        start = threading.Barrier(3)

        def leave(one: QueuedRequest = one, start: threading.Barrier = start) -> None:
            start.wait(10)
            one.leave()

        threads = [threading.Thread(target=leave) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert place.freed_times == 1


@pytest.mark.parametrize(
    "end",
    [
        lambda one: deliver(one, 1, began=12.0),
        lambda one: one.refuse(errors.EngineFailed("x")),
    ],
)
def test_who_cancels_while_the_answer_comes_gets_one_of_the_two(
    end: Callable[[QueuedRequest], bool],
) -> None:
    for _ in range(50):
        one, place = queued(), Counter()
        one.settle(place)
        start, outcomes = threading.Barrier(2), list[bool]()

        def take(
            act: Callable[[], bool],
            start: threading.Barrier = start,
            outcomes: list[bool] = outcomes,
        ) -> None:
            start.wait(10)
            outcomes.append(act())

        acts: tuple[Callable[[], bool], ...] = (answer_of(one).cancel, partial(end, one))
        threads = [threading.Thread(target=take, args=(act,)) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == [False, True]
        assert answer_of(one).done()
        assert place.freed_times == 1


def test_a_deadline_that_has_passed_says_how_far_it_came() -> None:
    one = queued(4, deadline=20.0)
    deliver(one, 3, began=12.0)
    assert str(one.expiry(21.5, card=1)) == (
        "the deadline passed after 11.500 s on card 1, with 3 of 4 images computed"
    )


def test_who_is_dropped_hears_how_much_time_was_left() -> None:
    one = queued(images=2, deadline=13.0)
    assert one.left(12.5) == 0.5
    words = r"would pass in 0\.500 s, after 2\.500 s on card 3, .* with 0 of 2 images computed"
    assert re.search(words, one.lateness(12.5, 3).message)
    assert "the deadline passed after 4.000 s on card 3" in one.lateness(14.0, 3).message
    assert queued().left(1e9) == float("inf")
