from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from inference_service.cards.batching import Priority
from inference_service.cards.queue import CardQueue
from inference_service.cards.queued_request import QueuedRequest
from tests.support.engines import pixels


def queued(
    images: int = 1, kind: str = "a", priority: Priority = Priority.INTERACTIVE
) -> QueuedRequest:
    values = [0.0] * images
    return QueuedRequest(
        {"input": pixels(*values)}, images, kind, priority, 0.0, None, pinned=False
    )


@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.sampled_from("ab"), st.sampled_from(list(Priority))),
        max_size=20,
    ),
    st.integers(1, 6),
    st.integers(1, 5),
)
def test_every_image_leaves_once_and_in_order_while_others_come(
    requests: list[tuple[int, str, Priority]], limit: int, at_once: int
) -> None:
    queue, coming = CardQueue(), [queued(*one) for one in requests]
    everything = list(coming)
    taken: dict[int, list[int]] = {id(one): [] for one in everything}
    firsts = []
    while coming or queue:
        for _ in range(min(at_once, len(coming))):
            queue.put(coming.pop(0))
        batch = queue.take(limit)
        assert 0 < sum(part.images for _, part in batch) <= limit
        assert len({one.kind for one, _ in batch}) == 1
        firsts.append(batch[0][0])
        for one, part in batch:
            taken[id(one)] += range(part.start, part.stop)
    assert all(taken[id(one)] == list(range(one.images)) for one in everything)
    assert queue.take(limit) == []
    # Within a class and a kind, who came first began first.
    for priority in Priority:
        of_class = [one for one in everything if one.priority is priority]
        began = [one for one in dict.fromkeys(firsts) if one.priority is priority]
        order = [of_class.index(one) for one in began]
        for kind in "ab":
            same = [n for n in order if of_class[n].kind == kind]
            assert same == sorted(same)


def test_bulk_waits_for_interactive_but_not_for_ever() -> None:
    queue = CardQueue()
    for _ in range(8):
        queue.put(queued(priority=Priority.INTERACTIVE))
    for _ in range(3):
        queue.put(queued(priority=Priority.BULK))
    order = []
    while queue:
        ((one, _),) = queue.take(1)
        order.append(one.priority.name[0])
    assert "".join(order) == "IIIBIIIBIIB"


def test_a_batch_is_filled_up_with_the_other_class() -> None:
    queue = CardQueue()
    queue.put(queued(2, priority=Priority.BULK))
    queue.put(queued(1))
    assert not queue.has_batch_of(4)
    queue.put(queued(1))
    assert queue.has_batch_of(4)
    assert [one.priority for one, _ in queue.take(4)] == [
        Priority.INTERACTIVE,
        Priority.INTERACTIVE,
        Priority.BULK,
    ]


def test_what_is_not_wanted_is_dropped_and_everything_can_be_taken() -> None:
    queue = CardQueue()
    kept, dropped = queued(3), queued(1)
    queue.put(dropped)
    queue.put(kept)
    queue.discard(dropped)
    queue.discard(dropped)
    assert list(queue) == [kept]
    assert len(queue) == 1
    assert queue.empty() == [kept]
    assert not queue


def test_only_batches_since_bulk_waits_count() -> None:
    queue = CardQueue()

    def turn(*, bulk: bool) -> str:
        queue.put(queued(priority=Priority.INTERACTIVE))
        if bulk:
            queue.put(queued(priority=Priority.BULK))
        ((one, _),) = queue.take(1)
        return one.priority.name[0]

    assert [turn(bulk=False) for _ in range(5)] == ["I"] * 5
    assert [turn(bulk=True)] + [turn(bulk=False) for _ in range(2)] == ["I"] * 3
    # Nobody waits for that one any more; the next one begins anew.
    (gone,) = (one for one in queue if one.priority is Priority.BULK)
    queue.discard(gone)
    assert [turn(bulk=True)] + [turn(bulk=False) for _ in range(3)] == ["I", "I", "I", "B"]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=60))
def test_waiting_bulk_leads_every_fourth_batch_whatever_comes(
    turns: list[tuple[bool, int]],
) -> None:
    queue, passed = CardQueue(), 0
    for bulk, interactive in turns:
        for _ in range(interactive):
            queue.put(queued(priority=Priority.INTERACTIVE))
        if bulk:
            queue.put(queued(2, priority=Priority.BULK))
        waits = {one.priority for one in queue}
        for one, _ in queue.take(1):
            contested = len(waits) == 2
            assert not contested or (one.priority is Priority.BULK) == (passed == 3)
            passed = passed + 1 if contested and one.priority is Priority.INTERACTIVE else 0


def test_a_timely_batch_leaves_with_those_who_are_too_late() -> None:
    queue = CardQueue()
    late, kept, patient = queued(), queued(2), queued(priority=Priority.BULK)
    late.deadline, kept.deadline = 10.5, 13.0
    for one in (patient, late, kept):
        queue.put(one)
    batch, dropped = queue.take_timely(4, 10.0, lambda *_: 1.0, overloaded=False)
    assert [(one, part.images) for one, part in batch] == [(kept, 2), (patient, 1)]
    assert dropped == [late]
    assert not queue


def test_time_is_told_in_the_order_of_turns() -> None:
    queue = CardQueue()
    bulk, first = queued(priority=Priority.BULK), queued(3)
    first.deadline, first.weight = 12.0, 4.0
    queue.put(bulk)
    queue.put(first)
    assert queue.passed_over == 0
    (one, _), (other, _) = queue.timed(10.0)
    assert (one.left, one.rest, one.weight, one.fills) == (2.0, 3, 4.0, False)
    assert (other.left, other.fills) == (math.inf, True)
