from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.batching import Slice, Waiting, next_batch


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
        ([(1, 0, "a"), (1, 0, "b"), (1, 0, "a")], 8, [Slice(0, 0, 1)]),
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
    assert order == [
        (n, image) for n, (images, _) in enumerate(requests) for image in range(images)
    ]
