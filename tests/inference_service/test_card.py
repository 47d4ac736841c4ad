from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_service.card import Card, CardAnswer
from service_kit import errors
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


class Lane:
    """A card with its engine and clock."""

    def __init__(self, max_batch_size: int = 4, queue_images: int = 10) -> None:
        self.engine, self.clock = MeanEngine(), Clock()
        self.card = Card(
            tower(),
            lambda inputs: self.engine.run(0, inputs),
            max_batch_size=max_batch_size,
            queue_images=queue_images,
            clock=self.clock,
        )

    def submit(
        self, *values: float, dtype: str = "float32", deadline: float | None = None
    ) -> Future[CardAnswer]:
        images = pixels(*values, dtype=dtype)
        return self.card.submit({"input": images}, len(images), deadline)

    def hold(self) -> Future[CardAnswer]:
        """Occupies the engine until `release`."""
        self.engine.gate.clear()
        first = self.submit(0.0)
        assert self.engine.started.acquire(timeout=WAIT)
        return first

    def release(self) -> None:
        self.engine.gate.set()


@pytest.fixture
def lane() -> Iterator[Lane]:
    one = Lane()
    yield one
    one.release()
    one.card.close()


def means(future: Future[CardAnswer]) -> list[float]:
    return [float(v) for v in future.result(WAIT).outputs["probs"][:, 0]]


def test_answers_one_request(lane: Lane) -> None:
    answer = lane.submit(1, 2, 3).result(WAIT)
    np.testing.assert_allclose(answer.outputs["probs"][:, 0], [1, 2, 3])
    assert answer.batch_size == 3
    assert (lane.card.answered, lane.card.outstanding) == (3, 0)


def test_what_waits_becomes_one_batch(lane: Lane) -> None:
    first = lane.hold()
    others = [lane.submit(1), lane.submit(2, 3), lane.submit(4), lane.submit(5)]
    lane.release()
    assert [means(f) for f in (first, *others)] == [[0], [1], [2, 3], [4], [5]]
    assert [images for _, images in lane.engine.batches] == [1, 4, 1]
    assert others[0].result().batch_size == 4


def test_a_request_above_the_limit_is_split_and_comes_back_in_order(lane: Lane) -> None:
    assert means(lane.submit(*range(11))) == list(range(11))
    assert [images for _, images in lane.engine.batches] == [4, 4, 3]


def test_a_narrower_dtype_is_cast_in_the_batch(lane: Lane) -> None:
    first = lane.hold()
    others = [lane.submit(200, dtype="uint8"), lane.submit(7, dtype="uint8"), lane.submit(1.5)]
    lane.release()
    assert [means(f) for f in (first, *others)] == [[0], [200], [7], [1.5]]
    assert lane.engine.dtypes == {"float32"}


def test_a_full_queue_says_so_and_what_to_do(lane: Lane) -> None:
    lane.hold()
    lane.submit(*range(9))
    with pytest.raises(errors.QueueFull, match="10 images outstanding, and takes 10") as caught:
        lane.submit(1)
    assert caught.value.retry_after
    lane.release()


def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits(lane: Lane) -> None:
    assert len(means(lane.submit(*range(50)))) == 50


def test_what_expired_in_the_queue_is_never_computed(lane: Lane) -> None:
    lane.hold()
    late = lane.submit(7, deadline=lane.clock.now + 1)
    kept = lane.submit(8, deadline=lane.clock.now + 9)
    lane.clock.now += 5
    lane.release()
    with pytest.raises(errors.DeadlineExpired, match=r"after 5\.000 s on card 0, with 0 of 1"):
        late.result(WAIT)
    assert means(kept) == [8]
    assert sum(images for _, images in lane.engine.batches) == 2


def test_a_cancelled_request_frees_its_place_at_once_and_is_never_computed(lane: Lane) -> None:
    lane.hold()
    waiting = lane.submit(1, 2, 3)
    assert lane.card.outstanding == 4
    assert waiting.cancel()
    assert lane.card.outstanding == 1
    lane.release()
    with pytest.raises(CancelledError):
        waiting.result(WAIT)
    assert means(lane.submit(9)) == [9]
    assert sum(images for _, images in lane.engine.batches) == 2


def test_a_failing_engine_fails_the_batch_and_the_card_goes_on(lane: Lane) -> None:
    with pytest.raises(errors.EngineFailed, match="poisoned"):
        lane.submit(MeanEngine.poison).result(WAIT)
    assert means(lane.submit(1)) == [1]
    assert lane.card.outstanding == 0


def test_a_split_request_fails_once_and_the_rest_of_it_is_not_computed(lane: Lane) -> None:
    lane.hold()
    split = lane.submit(MeanEngine.poison, *range(1, 8))
    after = lane.submit(5)
    lane.release()
    with pytest.raises(errors.EngineFailed):
        split.result(WAIT)
    assert means(after) == [5]
    assert [images for _, images in lane.engine.batches] == [1, 4, 1]


def test_an_engine_that_mixes_images_is_found_out() -> None:
    card = Card(tower(), lambda _: {"probs": np.zeros(3)}, max_batch_size=4, queue_images=9)
    with pytest.raises(errors.EngineFailed, match=r"shape \[3\] for 2 images"):
        card.submit({"input": pixels(1, 2)}, 2).result(WAIT)
    card.close()


def test_an_unexpected_exception_is_an_engine_failure_with_its_words() -> None:
    def broken(_: object) -> dict[str, np.ndarray]:
        raise ZeroDivisionError("by zero")

    card = Card(tower(), broken, max_batch_size=4, queue_images=9)
    with pytest.raises(errors.EngineFailed, match="ZeroDivisionError: by zero"):
        card.submit({"input": pixels(1)}, 1).result(WAIT)
    card.close()


def test_closing_answers_what_is_queued_and_takes_nothing_more(lane: Lane) -> None:
    first = lane.hold()
    second = lane.submit(2)
    closing = threading.Thread(target=lane.card.close)
    closing.start()
    lane.release()
    closing.join(WAIT)
    assert (means(first), means(second)) == ([0], [2])
    with pytest.raises(errors.ServerStopping):
        lane.submit(3)


def test_times_are_those_of_the_clock(lane: Lane) -> None:
    lane.hold()
    waiting = lane.submit(1)
    lane.clock.now += 2
    lane.release()
    answer = waiting.result(WAIT)
    assert answer.queue_seconds == pytest.approx(2)
    assert answer.compute_seconds == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(1, 6))
def test_no_image_is_lost_doubled_or_moved(sizes: list[int], limit: int) -> None:
    lane = Lane(max_batch_size=limit, queue_images=1000)
    first = lane.hold()
    expected: list[float] = []
    futures = []
    for size in sizes:
        values = [float(len(expected) + n) for n in range(size)]
        expected += values
        futures.append(lane.submit(*values))
    lane.release()
    assert [value for future in futures for value in means(future)] == expected
    assert means(first) == [0]
    assert sum(images for _, images in lane.engine.batches) == len(expected) + 1
    assert lane.card.outstanding == 0
    lane.card.close()


def test_the_rest_of_a_split_request_is_not_computed_once_nobody_waits(lane: Lane) -> None:
    for end in ("cancelled", "expired"):
        lane.engine.batches.clear()
        lane.engine.started = threading.Semaphore(0)
        lane.engine.gate.clear()
        split = lane.submit(*range(9), deadline=lane.clock.now + 1)
        assert lane.engine.started.acquire(timeout=WAIT)
        if end == "cancelled":
            assert split.cancel()
        else:
            lane.clock.now += 2
        lane.release()
        assert means(lane.submit(3)) == [3]
        assert [images for _, images in lane.engine.batches] == [4, 1]
        assert lane.card.outstanding == 0
    with pytest.raises(errors.DeadlineExpired, match="with 4 of 9 images computed"):
        split.result(WAIT)


def test_outputs_that_cannot_be_joined_fail_their_request_alone() -> None:
    widths = iter([2, 3, 4, 4])

    def run(inputs: Any) -> Any:
        return {"probs": np.zeros((len(inputs["input"]), next(widths)))}

    card = Card(tower(), run, max_batch_size=2, queue_images=99)
    with pytest.raises(errors.EngineFailed):
        card.submit({"input": pixels(1, 2, 3)}, 3).result(WAIT)
    assert card.submit({"input": pixels(1)}, 1).result(WAIT).outputs["probs"].shape == (1, 4)
    card.close()
