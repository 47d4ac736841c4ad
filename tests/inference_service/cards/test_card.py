from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_service.cards.admission import TooLate
from inference_service.cards.batch_limit import BatchTiming
from inference_service.cards.batching import Priority
from inference_service.cards.card import Card
from inference_service.cards.card_answer import CardAnswer
from inference_service.cards.card_spec import CardLimits, CardSpec
from inference_service.cards.queued_request import QueuedRequest
from inference_service.engine.devices import Device, Placement
from service_kit import errors
from tests.support.cards import answer_of, reserve, submit
from tests.support.engines import MeanEngine, pixels
from tests.support.manifests import tower

WAIT = 30.0
Submit = Callable[..., Future[CardAnswer]]


class Clock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A card with its engine and clock."""

    def __init__(
        self,
        batch: int = 4,
        queue_images: int = 10,
        *,
        run: Callable[[Any], Any] | None = None,
        packs: bool = True,
        **limits: Any,
    ) -> None:
        self.engine, self.clock = MeanEngine(), Clock()
        self.moved: list[QueuedRequest] = []
        self.card = Card(
            CardSpec(
                tower=tower(),
                placement=Placement(0, 0, Device("cpu", 0), ()),
                run=run or (lambda inputs: self.engine.run(0, inputs)),
                blank={"input": pixels(0)},
                timings=(BatchTiming(1, 0.5),),
                packs=packs,
            ),
            CardLimits(batch, queue_images, **limits),
            lambda requests, _: self.moved.extend(requests),
            clock=self.clock,
        )

    def submit(
        self,
        *values: float,
        dtype: str = "float32",
        deadline: float | None = None,
        priority: Priority = Priority.INTERACTIVE,
        pinned: bool = True,
    ) -> Future[CardAnswer]:
        inputs = {"input": pixels(*values, dtype=dtype)}
        return submit(
            self.card, inputs, deadline, priority=priority, pinned=pinned, now=self.clock.now
        )

    def reaches(self, images: int, left: float) -> bool:
        """Whether the card takes a request that has so many seconds left."""
        now = self.clock.now
        try:
            one = reserve(self.card, images, 0, now + left, now=now, elsewhere=True)
        except TooLate:
            return False
        answer_of(one).cancel()
        return True

    def hold(self) -> Future[CardAnswer]:
        """Occupies the engine until `release`."""
        self.engine.gate.clear()
        first = self.submit(0.0)
        assert self.engine.started.acquire(timeout=WAIT)
        return first

    def release(self) -> None:
        self.engine.gate.set()

    def sizes(self) -> list[int]:
        """Images of each batch."""
        return [images for _, images in self.engine.batches]


@pytest.fixture
def bench() -> Iterator[Bench]:
    one = Bench()
    yield one
    one.release()
    one.card.close()


def means(future: Future[CardAnswer]) -> list[float]:
    return [float(v) for v in future.result(WAIT).outputs["probs"][:, 0]]


def test_answers_one_request(bench: Bench) -> None:
    answer = bench.submit(1, 2, 3).result(WAIT)
    np.testing.assert_allclose(answer.outputs["probs"][:, 0], [1, 2, 3])
    assert answer.batch_size == 3
    assert (bench.card.status().counts.answered_images, bench.card.status().outstanding_images) == (
        3,
        0,
    )


def test_what_waits_becomes_one_batch(bench: Bench) -> None:
    first = bench.hold()
    others = [bench.submit(1), bench.submit(2, 3), bench.submit(4), bench.submit(5)]
    bench.release()
    assert [means(f) for f in (first, *others)] == [[0], [1], [2, 3], [4], [5]]
    assert bench.sizes() == [1, 4, 1]
    assert others[0].result().batch_size == 4


def test_a_request_above_the_limit_is_split_and_comes_back_in_order(bench: Bench) -> None:
    assert means(bench.submit(*range(11))) == list(range(11))
    assert bench.sizes() == [4, 4, 3]


def test_a_narrower_dtype_is_cast_in_the_batch(bench: Bench) -> None:
    first = bench.hold()
    others = [bench.submit(200, dtype="uint8"), bench.submit(7, dtype="uint8"), bench.submit(1.5)]
    bench.release()
    assert [means(f) for f in (first, *others)] == [[0], [200], [7], [1.5]]
    assert bench.engine.dtypes == {"float32"}


def test_a_full_queue_says_so_and_what_to_do(bench: Bench) -> None:
    bench.hold()
    bench.submit(*range(9))
    with pytest.raises(errors.QueueFull, match="10 images outstanding, and takes 10") as caught:
        bench.submit(1)
    assert caught.value.retry_after
    bench.release()


def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits(bench: Bench) -> None:
    assert len(means(bench.submit(*range(50)))) == 50


def test_what_expired_in_the_queue_is_never_computed(bench: Bench) -> None:
    bench.hold()
    late = bench.submit(7, deadline=bench.clock.now + 1)
    kept = bench.submit(8, deadline=bench.clock.now + 9)
    bench.clock.now += 5
    bench.release()
    with pytest.raises(errors.DeadlineExpired, match=r"after 5\.000 s on card 0, with 0 of 1"):
        late.result(WAIT)
    assert means(kept) == [8]
    assert sum(bench.sizes()) == 2


def test_a_cancelled_request_frees_its_place_at_once_and_is_never_computed(bench: Bench) -> None:
    bench.hold()
    waiting = bench.submit(1, 2, 3)
    assert bench.card.status().outstanding_images == 4
    assert waiting.cancel()
    assert bench.card.status().outstanding_images == 1
    bench.release()
    with pytest.raises(CancelledError):
        waiting.result(WAIT)
    assert means(bench.submit(9)) == [9]
    assert sum(bench.sizes()) == 2


def test_a_failing_engine_fails_the_batch_and_the_card_goes_on(bench: Bench) -> None:
    with pytest.raises(errors.EngineFailed, match="poisoned"):
        bench.submit(MeanEngine.poison).result(WAIT)
    assert means(bench.submit(1)) == [1]
    assert bench.card.status().outstanding_images == 0


def test_a_split_request_fails_once_and_the_rest_of_it_is_not_computed(bench: Bench) -> None:
    bench.hold()
    split = bench.submit(MeanEngine.poison, *range(1, 8))
    after = bench.submit(5)
    bench.release()
    with pytest.raises(errors.EngineFailed):
        split.result(WAIT)
    assert means(after) == [5]
    assert bench.sizes() == [1, 4, 1]


def test_an_engine_that_mixes_images_is_found_out() -> None:
    card = Bench(run=lambda _: {"probs": np.zeros(3)}).card
    with pytest.raises(errors.EngineFailed, match=r"shape \[3\] for 2 images"):
        submit(card, {"input": pixels(1, 2)}).result(WAIT)
    card.close()


def test_an_unexpected_exception_is_an_engine_failure_with_its_words() -> None:
    def broken(_: object) -> dict[str, np.ndarray]:
        raise ZeroDivisionError("by zero")

    card = Bench(run=broken).card
    with pytest.raises(errors.EngineFailed, match="ZeroDivisionError: by zero"):
        submit(card, {"input": pixels(1)}).result(WAIT)
    card.close()


def test_closing_answers_what_is_queued_and_takes_nothing_more(bench: Bench) -> None:
    first = bench.hold()
    second = bench.submit(2)
    closing = threading.Thread(target=bench.card.close)
    closing.start()
    bench.release()
    closing.join(WAIT)
    assert (means(first), means(second)) == ([0], [2])
    with pytest.raises(errors.ServerStopping):
        bench.submit(3)


def test_times_are_those_of_the_clock(bench: Bench) -> None:
    bench.hold()
    waiting = bench.submit(1)
    bench.clock.now += 2
    bench.release()
    answer = waiting.result(WAIT)
    assert answer.queue_seconds == pytest.approx(2)
    assert answer.compute_seconds == 0


@settings(max_examples=30)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(1, 6))
def test_no_image_is_lost_doubled_or_moved(sizes: list[int], limit: int) -> None:
    bench = Bench(limit, 1000)
    first = bench.hold()
    expected: list[float] = []
    futures = []
    for size in sizes:
        values = [float(len(expected) + n) for n in range(size)]
        expected += values
        futures.append(bench.submit(*values))
    bench.release()
    assert [value for future in futures for value in means(future)] == expected
    assert means(first) == [0]
    assert sum(bench.sizes()) == len(expected) + 1
    assert bench.card.status().outstanding_images == 0
    bench.card.close()


def test_the_rest_of_a_split_request_is_not_computed_once_nobody_waits(bench: Bench) -> None:
    for end in ("cancelled", "expired"):
        bench.engine.batches.clear()
        bench.engine.started = threading.Semaphore(0)
        bench.engine.gate.clear()
        split = bench.submit(*range(9), deadline=bench.clock.now + 1)
        assert bench.engine.started.acquire(timeout=WAIT)
        if end == "cancelled":
            assert split.cancel()
        else:
            bench.clock.now += 2
        bench.release()
        assert means(bench.submit(3)) == [3]
        assert bench.sizes() == [4, 1]
        assert bench.card.status().outstanding_images == 0
    with pytest.raises(errors.DeadlineExpired, match="with 4 of 9 images computed"):
        split.result(WAIT)


def test_outputs_that_cannot_be_joined_fail_their_request_alone() -> None:
    widths = iter([2, 3, 4, 4])

    def run(inputs: Any) -> Any:
        return {"probs": np.zeros((len(inputs["input"]), next(widths)))}

    card = Bench(2, 99, run=run).card
    with pytest.raises(errors.EngineFailed):
        submit(card, {"input": pixels(1, 2, 3)}).result(WAIT)
    assert submit(card, {"input": pixels(1)}).result(WAIT).outputs["probs"].shape == (1, 4)
    card.close()


def test_a_poisoned_request_in_a_full_batch_hurts_only_itself(bench: Bench) -> None:
    bench.hold()
    others = [bench.submit(1), bench.submit(MeanEngine.poison), bench.submit(2), bench.submit(3)]
    bench.release()
    for value, answer in ((1, others[0]), (2, others[2]), (3, others[3])):
        assert means(answer) == [value]
    with pytest.raises(errors.EngineFailed, match="poisoned"):
        others[1].result(WAIT)
    assert bench.sizes() == [1, 4, 1, 1, 1, 1]
    assert bench.card.status().counts.failed_requests == 1
    assert bench.card.healthy


def test_requests_of_other_shapes_and_dtypes_do_not_share_a_batch(bench: Bench) -> None:
    bench.hold()
    wide = np.ones((1, 5, 5, 3), np.float32)
    answers = [bench.submit(1), bench.submit(2, dtype="uint8"), bench.submit(3)]
    answers.append(submit(bench.card, {"input": wide}))
    answers.append(bench.submit(4, dtype="uint8"))
    bench.release()
    assert [means(one) for one in answers] == [[1], [2], [3], [1], [4]]
    assert bench.sizes() == [1, 2, 2, 1]


def test_a_model_whose_answers_depend_on_the_batch_gets_one_request_at_a_time() -> None:
    bench = Bench(packs=False)
    bench.hold()
    answers = [bench.submit(1, 2), bench.submit(3)]
    bench.release()
    assert [means(one) for one in answers] == [[1, 2], [3]]
    assert bench.sizes() == [1, 2, 1]
    bench.card.close()


def test_interactive_requests_overtake_bulk_and_bulk_never_starves() -> None:
    bench = Bench(batch=1, queue_images=100)
    bench.hold()
    for value in range(6):
        bench.submit(100 + value, priority=Priority.BULK)
    answers = [bench.submit(value) for value in range(1, 9)]
    order: list[float] = []
    for one in answers:
        one.add_done_callback(lambda done: order.append(means(done)[0]))
    seen: list[float] = []
    real = bench.engine.run

    def run(card: int, inputs: Any) -> Any:
        seen.append(float(inputs["input"][0, 0, 0, 0]))
        return real(card, inputs)

    bench.engine.run = run  # type: ignore[method-assign]
    bench.release()
    bench.card.close()
    assert seen == [1, 2, 3, 100, 4, 5, 6, 101, 7, 8, 102, 103, 104, 105]
    assert order == list(range(1, 9))


def test_bytes_bound_the_queue_too() -> None:
    bench = Bench(queue_images=1000, queue_bytes=100)
    bench.hold()
    bench.submit(1)
    assert bench.card.status().outstanding_bytes == 96
    with pytest.raises(errors.QueueFull, match="96 bytes outstanding, and takes 100"):
        bench.submit(2)
    assert bench.card.status().counts.refused_requests == 1
    bench.release()
    bench.card.close()
    assert bench.card.status().outstanding_bytes == 0


def test_who_finds_the_queue_full_is_told_how_long_what_waits_takes(bench: Bench) -> None:
    bench.hold()
    with pytest.raises(errors.QueueFull) as caught:
        bench.submit(*range(10))
    # One image is outstanding, and warming measured two a second.
    assert caught.value.retry_after == 0.5


def test_a_batch_waits_for_company_as_long_as_it_may() -> None:
    bench = Bench(max_queue_delay=5.0)
    first = bench.submit(1)
    assert not bench.engine.started.acquire(blocking=False)
    answers = [bench.submit(2), bench.submit(3), bench.submit(4)]
    assert [means(one) for one in (first, *answers)] == [[1], [2], [3], [4]]
    assert bench.sizes() == [4]
    alone = bench.submit(5)
    bench.clock.now += 5
    with bench.card._changed:
        bench.card._changed.notify()
    assert means(alone) == [5]
    bench.card.close()


def test_batches_are_padded_to_the_sizes_of_warming() -> None:
    bench = Bench(batch=8, padded_sizes=(1, 2, 4, 8))
    assert means(bench.submit(1, 2, 3)) == [1, 2, 3]
    assert means(bench.submit(7)) == [7]
    assert bench.sizes() == [4, 1]
    assert bench.card.status().counts.answered_images == 4
    bench.card.close()


def test_what_is_not_finite_passes_through_and_is_counted(bench: Bench) -> None:
    answer = bench.submit(1, float("nan"), float("inf"), 2).result(WAIT)
    assert np.isnan(answer.outputs["probs"][1]).all()
    assert bench.card.status().counts.runs.non_finite_inputs == 2
    assert bench.card.status().counts.runs.non_finite_outputs == 2
    assert means(bench.submit(5)) == [5]


def test_what_became_of_requests_is_counted(bench: Bench) -> None:
    bench.hold()
    late = bench.submit(7, deadline=bench.clock.now + 1)
    gone = bench.submit(8)
    gone.cancel()
    bench.clock.now += 5
    bench.release()
    with pytest.raises(errors.DeadlineExpired):
        late.result(WAIT)
    bench.card.close()
    counts = bench.card.status().counts
    assert (counts.expired_requests, counts.cancelled_requests, counts.runs.batches) == (1, 1, 1)


def test_who_learns_of_an_answer_finds_it_counted(bench: Bench) -> None:
    held = bench.hold()
    requests = (
        held,
        bench.submit(2),
        bench.submit(3, deadline=bench.clock.now + 1),
        bench.submit(MeanEngine.poison),
    )
    seen: dict[Future[CardAnswer], tuple[int, int, int]] = {}

    def look(request: Future[CardAnswer]) -> None:
        counts = bench.card.status().counts
        seen[request] = (
            counts.answered_images,
            counts.expired_requests,
            counts.failed_requests,
        )

    for request in requests:
        request.add_done_callback(look)
    bench.clock.now += 2
    bench.release()
    bench.card.close()
    assert [seen[one] for one in requests] == [(1, 0, 0), (2, 1, 0), (1, 1, 0), (2, 1, 1)]


def test_a_card_that_fails_on_everything_is_taken_out_and_its_queue_moves(bench: Bench) -> None:
    bench.hold()
    pinned = [bench.submit(n) for n in range(2)]
    free = [bench.submit(n, pinned=False) for n in range(3)]
    bench.engine.broken_cards.add(0)
    bench.release()
    for one in pinned:
        with pytest.raises((errors.EngineFailed, errors.CardOutOfOrder), match="the device is gon"):
            one.result(WAIT)
    while not bench.moved:
        threading.Event().wait(0.001)
    with pytest.raises(errors.CardOutOfOrder, match="card 0 is out of order") as caught:
        bench.submit(9)
    assert caught.value.retry_after == pytest.approx(1.0)
    assert not bench.card.healthy
    assert "the device is gone" in bench.card.last_error
    assert not any(one.done() for one in free)
    assert [answer_of(queued) for queued in bench.moved] == free
    assert bench.card.status().outstanding_images == 0


def test_a_card_that_recovers_comes_back(bench: Bench) -> None:
    bench.engine.broken_cards.add(0)
    while bench.card.healthy:
        with pytest.raises(errors.PbserveError, match="the device is gone"):
            bench.submit(1).result(WAIT)
    bench.engine.broken_cards.clear()
    with pytest.raises(errors.CardOutOfOrder):
        bench.submit(1)
    bench.clock.now += 1
    bench.engine.started = threading.Semaphore(0)
    with bench.card._changed:
        bench.card._changed.notify()
    assert bench.engine.started.acquire(timeout=WAIT)
    while not bench.card.healthy:
        threading.Event().wait(0.001)
    assert means(bench.submit(3)) == [3]


def test_failures_of_requests_alone_do_not_take_a_card_out(bench: Bench) -> None:
    for _ in range(10):
        with pytest.raises(errors.EngineFailed, match="poisoned"):
            bench.submit(MeanEngine.poison).result(WAIT)
    assert bench.card.healthy
    assert means(bench.submit(1)) == [1]


def test_limits_may_change_while_requests_wait(bench: Bench) -> None:
    bench.hold()
    answers = [bench.submit(n) for n in range(1, 7)]
    bench.card.limits = CardLimits(2)
    bench.release()
    assert [means(one) for one in answers] == [[n] for n in range(1, 7)]
    assert bench.sizes() == [1, 2, 2, 2]


def test_bulk_leaves_half_of_the_queue_to_others(bench: Bench) -> None:
    bench.hold()
    for _ in range(5):
        bench.submit(1, priority=Priority.BULK)
    with pytest.raises(errors.QueueFull, match="5 images of bulk outstanding, and takes 5"):
        bench.submit(1, priority=Priority.BULK)
    waiting = [bench.submit(n) for n in range(4)]
    with pytest.raises(errors.QueueFull, match="10 images outstanding, and takes 10"):
        bench.submit(1)
    assert bench.card.status().counts.refused_requests == 2
    bench.release()
    assert [means(one) for one in waiting] == [[n] for n in range(4)]


def test_a_place_is_taken_before_the_inputs_are_there(bench: Bench) -> None:
    queued = reserve(bench.card, 9, 1000)
    status = bench.card.status()
    assert (status.outstanding_images, status.outstanding_bytes) == (
        9,
        1000,
    )
    with pytest.raises(errors.QueueFull):
        bench.submit(1, 2)
    bench.card.fill(queued, {"input": pixels(*range(9))})
    assert means(answer_of(queued)) == list(range(9))
    status = bench.card.status()
    assert (status.outstanding_images, status.outstanding_bytes) == (0, 0)


def test_who_is_gone_before_the_inputs_come_has_left_no_trace(bench: Bench) -> None:
    queued = reserve(bench.card, 9, 1000)
    answer_of(queued).cancel()
    assert bench.card.status().outstanding_images == 0
    bench.card.fill(queued, {"input": pixels(*range(9))})
    assert means(bench.submit(5)) == [5]
    assert bench.sizes() == [1]


def test_inputs_that_are_larger_than_announced_take_the_room_that_is_there() -> None:
    bench = Bench(queue_images=1000, queue_bytes=1000)
    bench.hold()
    fits, too_large = reserve(bench.card, 3, 10), reserve(bench.card, 9, 10)
    bench.card.fill(fits, {"input": pixels(1, 2, 3)})
    assert bench.card.status().outstanding_bytes == 48 + 3 * 48 + 10
    bench.card.fill(too_large, {"input": np.ones((9, 9, 9, 3), np.float32)})
    with pytest.raises(errors.QueueFull, match="bytes outstanding, and takes 1000"):
        answer_of(too_large).result(WAIT)
    assert bench.card.status().outstanding_bytes == 48 + 3 * 48
    assert bench.card.status().counts.refused_requests == 1
    bench.release()
    assert means(answer_of(fits)) == [1, 2, 3]
    bench.card.close()
    assert bench.card.status().outstanding_bytes == 0


def test_what_is_cancelled_keeps_nothing_in_memory_while_the_engine_is_busy(bench: Bench) -> None:
    bench.hold()
    images = pixels(1, 2, 3)
    answer = submit(bench.card, {"input": images})
    kept = weakref.ref(images)
    del images
    gc.collect()
    assert kept() is not None
    answer.cancel()
    del answer
    gc.collect()
    assert kept() is None


def test_an_idle_card_keeps_nothing_of_its_last_batch(bench: Bench) -> None:
    images = pixels(1, 2, 3)
    kept = weakref.ref(images)
    submit(bench.card, {"input": images}).result(WAIT)
    del images
    # The thread tells of the answer before it lets go of the batch.
    for _ in range(10_000):
        if kept() is None:
            break
        threading.Event().wait(0.001)
        gc.collect()
    assert kept() is None


def test_who_is_cancelled_at_the_deadline_has_expired(bench: Bench) -> None:
    bench.hold()
    # gRPC cancels a call by its own clock, which may be a little ahead of the card's.
    late = [bench.submit(1, deadline=bench.clock.now + 5) for _ in range(2)]
    early = bench.submit(1, deadline=bench.clock.now + 9)
    bench.clock.now += 4.95
    late[0].cancel()
    early.cancel()
    bench.clock.now += 0.5
    late[1].cancel()
    counts = bench.card.status().counts
    assert (counts.expired_requests, counts.cancelled_requests) == (2, 1)


def test_images_that_run_for_nobody_are_load_though_they_have_no_place() -> None:
    bench = Bench(batch=4)
    bench.engine.gate.clear()
    abandoned = bench.submit(1, 2, 3)
    assert bench.engine.started.acquire(timeout=WAIT)
    waiting = bench.submit(4)
    assert bench.card.load == 4
    abandoned.cancel()
    assert (bench.card.load, bench.card.status().outstanding_images) == (4, 1)
    bench.release()
    assert means(waiting) == [4]
    bench.card.close()
    assert bench.card.load == 0


def ran(bench: Bench, seconds: float, *values: float) -> None:
    """Has the card run a few batches that take so many seconds."""
    for _ in range(3):
        bench.engine.gate.clear()
        answer = bench.submit(*(values or (0.0,)))
        assert bench.engine.started.acquire(timeout=WAIT)
        bench.clock.now += seconds
        bench.release()
        answer.result(WAIT)
        # The thread still has to take note that the run has ended.
        while bench.card.load:
            threading.Event().wait(0.001)
    bench.engine.forget()


def test_what_could_not_be_done_in_time_is_dropped_before_it_is_computed(bench: Bench) -> None:
    ran(bench, 1.0)
    bench.hold()
    waiting = [bench.submit(1, deadline=bench.clock.now + left) for left in (2.5, 9.0)]
    bench.clock.now += 2.0
    bench.release()
    with pytest.raises(errors.DeadlineExpired, match=r"would pass in 0\.500 s, after 2\.000 s"):
        waiting[0].result(WAIT)
    assert means(waiting[1]) == [1]
    assert bench.card.status().counts.expired_requests == 1
    assert bench.sizes() == [1, 1]


def test_who_is_too_late_for_the_queue_is_refused_on_arrival() -> None:
    bench = Bench(queue_images=100)
    ran(bench, 1.0, *range(4))
    bench.hold()
    kept = [bench.submit(*range(4)) for _ in range(2)]
    with pytest.raises(errors.QueueFull, match=r"passes in \d\.\d+ s, and card 0 needs") as caught:
        bench.submit(1, deadline=bench.clock.now + 2.5)
    # Who asked again within the same deadline would be too late again.
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 2.5
    in_time = bench.submit(2, deadline=bench.clock.now + 9.0)
    without = bench.submit(3)
    counts = bench.card.status().counts
    assert (counts.refused_requests, counts.expired_requests) == (1, 0)
    bench.release()
    assert [means(one) for one in kept] == [[0, 1, 2, 3]] * 2
    assert (means(in_time), means(without)) == ([2], [3])
    bench.card.close()


def test_who_has_less_time_than_an_idle_card_needs_is_told_at_once(bench: Bench) -> None:
    ran(bench, 1.0)
    with pytest.raises(errors.DeadlineExpired, match=r"card 0 takes about 1\.\d+ s for 1 images"):
        bench.submit(1, deadline=bench.clock.now + 0.5)
    assert bench.card.status().counts.expired_requests == 1
    assert bench.sizes() == []


def test_an_idle_card_lets_one_try_after_a_while(bench: Bench) -> None:
    ran(bench, 1.0)
    bench.clock.now += 1.1
    assert means(bench.submit(1, deadline=bench.clock.now + 0.5)) == [1]


def test_a_card_that_has_not_run_refuses_nobody(bench: Bench) -> None:
    bench.hold()
    assert bench.reaches(1, 0.001)
    bench.submit(1, deadline=bench.clock.now + 0.001)
    bench.release()


def test_images_that_are_being_decoded_are_in_the_queue_by_the_clock(bench: Bench) -> None:
    ran(bench, 1.0, *range(4))
    reserved = reserve(bench.card, 9, 1000)
    assert not bench.reaches(1, 2.5)
    answer_of(reserved).cancel()
    assert bench.reaches(1, 2.5)


def test_what_is_split_counts_by_what_is_left_of_it() -> None:
    bench = Bench(queue_images=100)
    ran(bench, 1.0, *range(4))
    bench.engine.gate.clear()
    bench.submit(*range(8))
    assert bench.engine.started.acquire(timeout=WAIT)
    # One second of the batch that runs, one for the other half, one for this.
    assert bench.reaches(4, 3.1)
    assert not bench.reaches(4, 2.9)
    bench.release()
    bench.card.close()


def test_nobody_waits_for_company_until_it_is_too_late() -> None:
    bench = Bench(max_queue_delay=5.0)
    for _ in range(3):
        bench.engine.gate.clear()
        full = bench.submit(1, 2, 3, 4)
        assert bench.engine.started.acquire(timeout=WAIT)
        bench.clock.now += 3.0
        bench.release()
        full.result(WAIT)
        while bench.card.load:
            threading.Event().wait(0.001)
    # Half of its time would be 2 s, and leave 2 s for 3 s of work.
    alone = bench.submit(7, deadline=bench.clock.now + 4.0)
    bench.clock.now += 0.25
    with bench.card._changed:
        bench.card._changed.notify()
    assert means(alone) == [7]
    bench.card.close()


def hang(bench: Bench, *values: float) -> Future[CardAnswer]:
    """Occupies the engine for longer than it may take."""
    bench.engine.gate.clear()
    stuck = bench.submit(*values)
    assert bench.engine.started.acquire(timeout=WAIT)
    # 20 times what warming measured for a full batch is 40 s.
    bench.clock.now += 41
    return stuck


def test_a_card_whose_run_does_not_end_is_out_of_order_and_its_queue_moves(bench: Bench) -> None:
    bench.engine.gate.clear()
    stuck = bench.submit(7)
    assert bench.engine.started.acquire(timeout=WAIT)
    pinned, free = bench.submit(1), bench.submit(2, pinned=False)
    bench.clock.now += 29.9
    bench.card.check_run()
    assert bench.card.healthy
    bench.clock.now += 0.2
    # Nobody has looked yet, and dispatch knows.
    assert not bench.card.healthy
    bench.card.check_run()
    # Not UNAVAILABLE: sent again it might keep another card as well.
    with pytest.raises(errors.EngineFailed, match="no answer from card 0: a run took longer than"):
        stuck.result(WAIT)
    with pytest.raises(errors.CardOutOfOrder, match="longer than the 30 s") as caught:
        pinned.result(WAIT)
    assert caught.value.retry_after == 1.0
    assert [answer_of(queued) for queued in bench.moved] == [free]
    assert (bench.card.status().outstanding_images, bench.card.status().counts.failed_requests) == (
        0,
        2,
    )
    with pytest.raises(errors.CardOutOfOrder):
        bench.submit(1)
    bench.card.check_run()
    assert len(bench.moved) == 1


def test_a_card_that_comes_back_from_a_run_is_probed_and_takes_requests(bench: Bench) -> None:
    stuck = hang(bench, 7)
    bench.card.check_run()
    bench.engine.forget()
    bench.release()
    assert bench.engine.started.acquire(timeout=WAIT)
    while not bench.card.healthy:
        threading.Event().wait(0.001)
    # The run that ended late, and the blank image.
    assert bench.sizes() == [1, 1]
    assert means(bench.submit(3)) == [3]
    assert isinstance(stuck.exception(WAIT), errors.EngineFailed)


def test_a_run_that_ends_late_is_answered_if_nobody_has_looked(bench: Bench) -> None:
    stuck = hang(bench, 7)
    bench.release()
    assert means(stuck) == [7]
    while not bench.card.healthy:
        threading.Event().wait(0.001)
    assert means(bench.submit(3)) == [3]
    assert bench.sizes() == [1, 1, 1]


def test_the_rest_of_a_request_that_hangs_is_not_tried_elsewhere(bench: Bench) -> None:
    split = hang(bench, *range(9))
    bench.card.check_run()
    with pytest.raises(errors.EngineFailed):
        split.result(WAIT)
    assert bench.moved == []
    bench.release()
    bench.card.close()
    assert 9 not in bench.sizes()


def test_a_probe_that_hangs_leaves_nobody_waiting() -> None:
    blank, runs = threading.Event(), threading.Semaphore(0)

    def run(inputs: Any) -> Any:
        runs.release()
        if (inputs["input"] == 0).all():
            assert blank.wait(WAIT)
        raise errors.EngineFailed("the device is gone")

    bench = Bench(run=run)
    failed = [bench.submit(1) for _ in range(3)]
    for _ in range(4):
        assert runs.acquire(timeout=WAIT)
    bench.clock.now += 31
    bench.card.check_run()
    assert all(isinstance(one.exception(WAIT), errors.PbserveError) for one in failed)
    blank.set()
    bench.card.close()


def test_closing_gives_up_on_a_run_that_does_not_end(bench: Bench) -> None:
    stuck = hang(bench, 7)
    assert not bench.card.close()
    with pytest.raises(errors.EngineFailed):
        stuck.result(WAIT)


def test_an_answer_and_a_refusal_that_meet_are_one_answer() -> None:
    for _ in range(30):
        bench = Bench()
        stuck = hang(bench, 7)
        start = threading.Barrier(2)

        def let_go(bench: Bench = bench, start: threading.Barrier = start) -> None:
            start.wait(WAIT)
            bench.release()

        thread = threading.Thread(target=let_go)
        thread.start()
        start.wait(WAIT)
        bench.card.check_run()
        thread.join()
        error = stuck.exception(WAIT)
        assert isinstance(error, errors.EngineFailed) or means(stuck) == [7]
        bench.card.close()
