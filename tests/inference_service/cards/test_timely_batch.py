from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.cards.batching import next_batch
from inference_service.cards.deadlines import Timed, seconds_of
from inference_service.cards.timely_batch import TimelyBatch, timely_batch
from tests.support.cards import Waiting

LIMIT = 4


def one_and_a_tenth_each(images: int, weight: float) -> float:
    return (1.0 + 0.1 * images) * weight


def nothing_known(images: int, weight: float) -> float:
    return 0.0


def timed(left: float = math.inf, images: int = 1, kind: str = "a", **changes: bool) -> Timed:
    return Timed(Waiting(images, 0, kind), left, **changes)


def chosen(*queue: Timed, overloaded: bool = False) -> tuple[list[int], list[int]]:
    found = timely_batch(queue, LIMIT, one_and_a_tenth_each, overloaded=overloaded)
    return [part.position for part in found.batch], list(found.late)


def test_without_deadlines_it_is_first_come_first_served() -> None:
    assert chosen(*[timed() for _ in range(6)]) == ([0, 1, 2, 3], [])


def test_who_cannot_be_done_even_alone_is_late_and_others_take_the_place() -> None:
    assert chosen(timed(1.0), *[timed(9.0)] * 5) == ([1, 2, 3, 4], [0])


def test_reads_no_further_than_the_batch_needs() -> None:
    endless = (timed(9.0) for _ in itertools.count())
    assert len(timely_batch(endless, LIMIT, one_and_a_tenth_each, overloaded=True).batch) == 4


def test_under_overload_a_batch_stays_full_and_drops_whom_it_is_too_slow_for() -> None:
    # Alone it would take 1.1 s, in a full batch 1.4 s.
    assert chosen(timed(1.2), *[timed(9.0)] * 4, overloaded=True) == ([1, 2, 3, 4], [0])


def test_who_is_in_a_hurry_gets_a_smaller_batch_if_nobody_is_lost_by_it() -> None:
    assert chosen(timed(1.2), *[timed(9.0)] * 3) == ([0, 1], [])
    assert chosen(*[timed()] * 3, timed(1.1)) == ([3], [])
    # The others would begin after 1.2 s and take 1.2 s.
    assert chosen(timed(1.2), *[timed(2.3)] * 3) == ([1, 2, 3], [0])


def test_a_batch_that_is_not_full_has_as_many_as_it_is_quick_enough_for() -> None:
    found = chosen(timed(1.2), timed(1.35), timed(1.3), overloaded=True)
    assert found == ([1, 2], [0])


def test_what_fills_up_does_so_at_nobodys_expense() -> None:
    fills = [timed(fills=True) for _ in range(3)]
    assert chosen(timed(1.2), *fills) == ([0, 1], [])
    assert chosen(timed(1.2), *fills, overloaded=True) == ([0, 1], [])
    assert chosen(timed(0.5), *fills) == ([1, 2, 3], [0])


def test_the_rest_of_a_large_request_counts() -> None:
    assert chosen(timed(2.7, images=8), timed()) == ([1], [0])
    assert chosen(timed(2.8, images=8), timed()) == ([0], [])


def test_other_kinds_wait_and_are_late_if_this_batch_takes_too_long_for_them() -> None:
    other, slow = timed(2.0, kind="b"), timed(9.0, kind="b")
    assert chosen(timed(9.0), other, slow, timed(9.0)) == ([0, 3], [1])


REQUESTS = st.lists(
    st.builds(
        lambda images, kind, left: Timed(Waiting(images, 0, kind), left),
        st.integers(1, 9),
        st.sampled_from("ab"),
        st.one_of(st.just(math.inf), st.floats(0.0, 8.0)),
    ),
    max_size=12,
)


def play(
    queue: list[Timed], *, overloaded: bool
) -> Iterator[tuple[float, list[Timed], TimelyBatch, float]]:
    """Yields time, queue and choice, batch for batch, until nothing waits."""
    now = 0.0
    while queue:
        found = timely_batch(queue, LIMIT, one_and_a_tenth_each, overloaded=overloaded)
        takes = one_and_a_tenth_each(sum(part.images for part in found.batch), 1.0)
        takes = takes if found.batch else 0.0
        yield now, queue, found, takes
        stops = {part.position: part.stop for part in found.batch}
        queue = [
            Timed(Waiting(one.request.images, stop, one.request.kind), one.left - takes)
            for position, one in enumerate(queue)
            if position not in found.late
            and (stop := stops.get(position, one.request.done)) < one.request.images
        ]
        now += takes


@pytest.mark.parametrize("overloaded", [False, True])
@given(queue=REQUESTS)
def test_each_request_is_computed_in_time_or_dropped_and_never_both(
    queue: list[Timed], *, overloaded: bool
) -> None:
    images = sum(one.request.images for one in queue)
    gone = 0
    for _, waiting, found, takes in play(queue, overloaded=overloaded):
        batch = {part.position: part for part in found.batch}
        assert batch or found.late
        assert not batch.keys() & set(found.late)
        assert sum(part.images for part in found.batch) <= LIMIT
        assert len({waiting[position].request.kind for position in batch}) <= 1
        gone += sum(part.images for part in found.batch)
        for position, part in batch.items():
            one = waiting[position]
            rest = seconds_of(one.request.images - part.stop, LIMIT, one_and_a_tenth_each)
            # Nothing is computed that cannot be finished.
            assert takes + rest <= one.left
        for position in found.late:
            one = waiting[position]
            gone += one.rest
            # Nobody is dropped who could wait for this batch to end.
            assert one.left < takes + seconds_of(one.rest, LIMIT, one_and_a_tenth_each)
    assert gone == images


@given(REQUESTS)
def test_where_all_can_be_done_first_come_is_first_served(queue: list[Timed]) -> None:
    patient = [Timed(one.request, one.left + 1000.0) for one in queue]
    found = timely_batch(patient, LIMIT, one_and_a_tenth_each, overloaded=False)
    assert (found.batch, found.late) == (next_batch((one.request for one in queue), LIMIT), [])


@given(REQUESTS)
def test_where_nothing_is_known_only_what_has_expired_is_dropped(queue: list[Timed]) -> None:
    assert not timely_batch(queue, LIMIT, nothing_known, overloaded=True).late
    expired = [Timed(one.request, -0.001) for one in queue]
    assert len(timely_batch(expired, LIMIT, nothing_known, overloaded=True).late) == len(queue)
