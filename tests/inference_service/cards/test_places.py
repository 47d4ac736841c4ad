from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.cards.batch_limit import BatchTiming
from inference_service.cards.batching import Priority
from inference_service.cards.card_spec import CardLimits, CardSpec
from inference_service.cards.places import Places
from inference_service.engine.devices import Device, Placement
from service_kit import errors
from tests.support.engines import pixels
from tests.support.manifests import tower

INTERACTIVE, BULK = Priority.INTERACTIVE, Priority.BULK
LIMITS = CardLimits(4, queue_images=100, queue_bytes=1000)
SPEC = CardSpec(
    tower=tower(),
    placement=Placement(3, 0, Device("cpu", 0), ()),
    run=lambda inputs: inputs,
    blank={"input": pixels(0)},
    timings=(BatchTiming(1, 0.5), BatchTiming(4, 1.0)),
)


def places(*taken: tuple[Priority, int, int]) -> Places:
    some = Places(SPEC)
    for one in taken:
        some.take(*one)
    return some


def has_room(some: Places, priority: Priority, images: int, size: int) -> bool:
    return some.refusal(priority, images, size, LIMITS) is None


@pytest.mark.parametrize(
    ("taken", "asked", "room"),
    [
        # Interactive requests alone may have all of it, bulk alone half.
        ([(INTERACTIVE, 60, 0)], (INTERACTIVE, 40, 0), True),
        ([(INTERACTIVE, 60, 0)], (INTERACTIVE, 41, 0), False),
        ([(BULK, 30, 0)], (BULK, 20, 0), True),
        ([(BULK, 30, 0)], (BULK, 21, 0), False),
        # The same of bytes.
        ([(INTERACTIVE, 1, 600)], (INTERACTIVE, 1, 400), True),
        ([(INTERACTIVE, 1, 600)], (INTERACTIVE, 1, 401), False),
        ([(BULK, 1, 300)], (BULK, 1, 200), True),
        ([(BULK, 1, 300)], (BULK, 1, 201), False),
        # Half is left to interactive requests whatever bulk has.
        ([(BULK, 50, 0), (INTERACTIVE, 1, 0)], (INTERACTIVE, 49, 0), True),
        ([(BULK, 50, 0), (INTERACTIVE, 1, 0)], (INTERACTIVE, 50, 0), False),
        ([(BULK, 9000, 0), (INTERACTIVE, 1, 0)], (INTERACTIVE, 49, 0), True),
        ([(BULK, 9000, 0), (INTERACTIVE, 1, 0)], (INTERACTIVE, 50, 0), False),
        # Bulk does not push in where interactive requests have taken everything.
        ([(INTERACTIVE, 95, 0), (BULK, 1, 0)], (BULK, 4, 0), True),
        ([(INTERACTIVE, 95, 0), (BULK, 1, 0)], (BULK, 5, 0), False),
        # The first of a class is always taken.
        ([], (INTERACTIVE, 9000, 9000), True),
        ([], (BULK, 9000, 9000), True),
        ([(INTERACTIVE, 100, 1000)], (BULK, 9000, 9000), True),
        ([(BULK, 50, 500)], (INTERACTIVE, 9000, 9000), True),
    ],
)
def test_who_has_room(
    taken: list[tuple[Priority, int, int]], asked: tuple[Priority, int, int], *, room: bool
) -> None:
    assert has_room(places(*taken), *asked) == room


def test_who_is_refused_learns_why_and_how_long_what_is_there_takes() -> None:
    refusal = places((INTERACTIVE, 12, 0), (BULK, 87, 0)).refusal(INTERACTIVE, 52, 0, LIMITS)
    words = "card 3 has 99 images outstanding, and takes 100: send 52 more later, or to another"
    assert isinstance(refusal, errors.QueueFull)
    assert words in str(refusal)
    refusal = places((BULK, 2, 400)).refusal(BULK, 1, 200, LIMITS)
    assert "400 bytes of bulk outstanding, and takes 500" in str(refusal)
    refusal = places((INTERACTIVE, 8, 0)).refusal(INTERACTIVE, 93, 0, LIMITS)
    # Four images a second is the best that warming measured.
    assert refusal is not None
    assert refusal.retry_after == 2.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(Priority), st.integers(1, 80), st.integers(0, 800), st.integers(0, 3)
        ),
        max_size=40,
    )
)
def test_what_is_outstanding_is_bounded_and_interactive_requests_always_have_half(
    steps: list[tuple[Priority, int, int, int]],
) -> None:
    some, inside = places(), list[tuple[Priority, int, int]]()
    for priority, images, size, answered in steps:
        if has_room(some, priority, images, size):
            some.take(priority, images, size)
            inside.append((priority, images, size))
        # The limits, and the first of each class, which may be anything.
        assert some.images <= LIMITS.queue_images + 2 * 80
        assert some.size <= LIMITS.queue_bytes + 2 * 800
        for one in inside[:answered]:
            some.free(*one)
        del inside[:answered]
        assert some.images == sum(images for _, images, _ in inside)
        assert some.size == sum(size for _, _, size in inside)
        mine = [one for one in inside if one[0] is INTERACTIVE]
        if sum(n for _, n, _ in mine) < 50 and sum(n for _, _, n in mine) < 500:
            assert has_room(some, INTERACTIVE, 1, 1)


def test_what_is_in_a_batch_does_not_wait_any_more() -> None:
    bench = places()
    bench.take(Priority.INTERACTIVE, 9, 0)
    bench.take(Priority.BULK, 2, 0)
    bench.begin(Priority.INTERACTIVE, 4)
    assert bench.waiting == {Priority.INTERACTIVE: 5, Priority.BULK: 2}
    bench.free(INTERACTIVE, 9, 0, 4)
    # Moved here from another card, where half of it was done.
    bench.take(Priority.INTERACTIVE, 8, 0, 4)
    assert bench.waiting == {Priority.INTERACTIVE: 4, Priority.BULK: 2}
