from __future__ import annotations

import math

import pytest

from inference_service.cards.batching import Priority
from inference_service.cards.deadlines import Timed, can_be_in_time, images_ahead, lost, seconds_of
from tests.support.cards import Waiting


def second_and_a_tenth_each(images: int, weight: float) -> float:
    return 1.0 + 0.1 * images * weight


def timed(images: int, left: float = math.inf, done: int = 0) -> Timed:
    return Timed(Waiting(images, done, "a"), left)


@pytest.mark.parametrize(
    ("images", "seconds"), [(0, 0.0), (1, 1.1), (4, 1.4), (5, 2.5), (8, 2.8), (4.5, 2.5)]
)
def test_images_take_full_batches_and_one_of_the_rest(images: float, seconds: float) -> None:
    assert seconds_of(images, 4, second_and_a_tenth_each) == pytest.approx(seconds)


def test_a_request_of_several_batches_needs_the_time_of_all_that_is_left() -> None:
    assert can_be_in_time(timed(8, left=2.8), 4, second_and_a_tenth_each)
    assert not can_be_in_time(timed(8, left=2.7), 4, second_and_a_tenth_each)
    assert can_be_in_time(timed(8, left=1.4, done=4), 4, second_and_a_tenth_each)


@pytest.mark.parametrize(
    ("interactive", "bulk", "passed_over", "ahead"),
    [
        (0, 0, 0, 0),
        (7, 0, 0, 7),
        # Three batches go before bulk has its turn.
        (11, 100, 0, 11),
        (12, 100, 0, 16),
        (0, 100, 3, 4),
        (12, 2, 0, 14),
    ],
)
def test_interactive_waits_for_its_own_class_and_for_the_turns_of_bulk(
    interactive: int, bulk: int, passed_over: int, ahead: int
) -> None:
    waiting = {Priority.INTERACTIVE: interactive, Priority.BULK: bulk}
    assert images_ahead(Priority.INTERACTIVE, 1, waiting, 4, passed_over) == ahead


@pytest.mark.parametrize(
    ("interactive", "bulk", "passed_over", "ahead"),
    [(0, 0, 0, 0), (5, 3, 0, 8), (100, 3, 0, 15), (100, 4, 0, 28), (100, 0, 3, 0)],
)
def test_bulk_waits_for_all_or_until_its_turn(
    interactive: int, bulk: int, passed_over: int, ahead: int
) -> None:
    waiting = {Priority.INTERACTIVE: interactive, Priority.BULK: bulk}
    assert images_ahead(Priority.BULK, 1, waiting, 4, passed_over) == ahead


def test_what_is_lost_takes_no_time_from_those_behind_it() -> None:
    queue = [timed(4, 1.0), timed(4, 1.4), timed(4, 2.7), timed(4, 2.8), timed(1)]
    found = [position for position, _ in lost(queue, 4, second_and_a_tenth_each, 0.0)]
    assert found == [0, 2]
    later = [position for position, _ in lost(queue, 4, second_and_a_tenth_each, 1.4)]
    assert later == [0, 1, 2]
