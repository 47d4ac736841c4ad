from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.cards.batching import (
    BULK_EVERY,
    Priority,
    Slice,
    due_at,
    leader,
    next_batch,
    padded_size,
)
from tests.support.cards import Waiting


def queue(*requests: tuple[int, int, str]) -> list[Waiting]:
    return [Waiting(*request) for request in requests]


@pytest.mark.parametrize(
    ("waiting", "limit", "batch"),
    [
        ([], 8, []),
        ([(1, 0, "a")], 8, [Slice(0, 0, 1)]),
        ([(3, 0, "a"), (4, 0, "a")], 8, [Slice(0, 0, 3), Slice(1, 0, 4)]),
        (
            [(3, 0, "a"), (4, 0, "a"), (4, 0, "a")],
            8,
            [Slice(0, 0, 3), Slice(1, 0, 4), Slice(2, 0, 1)],
        ),
        ([(20, 0, "a"), (1, 0, "a")], 8, [Slice(0, 0, 8)]),
        ([(20, 16, "a"), (1, 0, "a")], 8, [Slice(0, 16, 20), Slice(1, 0, 1)]),
        ([(1, 0, "a"), (1, 0, "b"), (1, 0, "a")], 8, [Slice(0, 0, 1), Slice(2, 0, 1)]),
    ],
)
def test_takes_from_the_front_what_fits(
    waiting: list[tuple[int, int, str]], limit: int, batch: list[Slice]
) -> None:
    assert next_batch(queue(*waiting), limit) == batch


def test_reads_no_further_than_needed() -> None:
    endless = (Waiting(1, 0, "a") for _ in itertools.count())
    assert len(next_batch(endless, 8)) == 8


@given(
    st.lists(st.tuples(st.integers(1, 20), st.sampled_from("ab")), max_size=15), st.integers(1, 9)
)
def test_every_image_is_taken_once_and_in_order(
    requests: list[tuple[int, str]], limit: int
) -> None:
    done = [0] * len(requests)
    order: list[tuple[int, int]] = []
    for _ in range(1000):
        waiting = [n for n, (images, _) in enumerate(requests) if done[n] < images]
        if not waiting:
            break
        batch = next_batch(
            [Waiting(requests[n][0], done[n], requests[n][1]) for n in waiting], limit
        )
        assert 0 < sum(part.images for part in batch) <= limit
        assert len({requests[waiting[part.position]][1] for part in batch}) == 1
        for part in batch:
            number = waiting[part.position]
            assert part.start == done[number] < part.stop
            order.extend((number, image) for image in range(part.start, part.stop))
            done[number] = part.stop
    assert sorted(order) == [
        (n, image) for n, (images, _) in enumerate(requests) for image in range(images)
    ]
    for kind in "ab":
        same = [one for one in order if requests[one[0]][1] == kind]
        assert same == sorted(same)


@given(
    st.lists(st.tuples(st.integers(1, 20), st.sampled_from("ab")), min_size=1, max_size=15),
    st.integers(1, 9),
)
def test_who_is_first_is_in_the_batch_and_it_is_as_full_as_can_be(
    requests: list[tuple[int, str]], limit: int
) -> None:
    batch = next_batch([Waiting(images, 0, kind) for images, kind in requests], limit)
    assert batch[0].position == 0
    of_its_kind = sum(images for images, kind in requests if kind == requests[0][1])
    assert sum(part.images for part in batch) == min(limit, of_its_kind)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_bulk_leads_a_batch_in_four_at_least_and_interactive_the_others(
    turns: list[tuple[bool, bool]],
) -> None:
    passed_over = 0
    for interactive, bulk in turns:
        if not (interactive or bulk):
            continue
        chosen = leader(interactive=interactive, bulk=bulk, passed_over=passed_over)
        assert interactive if chosen is Priority.INTERACTIVE else bulk
        if interactive and bulk:
            assert (chosen is Priority.BULK) == (passed_over == BULK_EVERY - 1)
        passed_over = passed_over + 1 if bulk and chosen is Priority.INTERACTIVE else 0
        assert passed_over < BULK_EVERY


@pytest.mark.parametrize(
    ("deadline", "delay", "due"),
    [(None, 2.0, 102.0), (110.0, 2.0, 102.0), (101.0, 2.0, 100.5), (99.0, 2.0, 100.0)],
)
def test_a_request_waits_for_company_half_of_its_time_at_most(
    deadline: float | None, delay: float, due: float
) -> None:
    assert due_at(100.0, deadline, delay) == due


@pytest.mark.parametrize(
    ("needed", "due"), [(0.0, 102.0), (1.0, 102.0), (3.0, 101.0), (9.0, 100.0)]
)
def test_waiting_for_company_leaves_the_time_that_is_needed(needed: float, due: float) -> None:
    assert due_at(100.0, 104.0, 5.0, needed) == due


@pytest.mark.parametrize(
    ("images", "sizes", "size"),
    [(3, (1, 2, 4, 8), 4), (4, (8, 4), 4), (9, (1, 8), 9), (5, (), 5)],
)
def test_a_batch_is_padded_to_the_next_size_that_there_is(
    images: int, sizes: tuple[int, ...], size: int
) -> None:
    assert padded_size(images, sizes) == size
