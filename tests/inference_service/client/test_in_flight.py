from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.client.in_flight import StreamLedger
from inference_service.client.results import Prediction, StreamAnswer
from service_kit import errors
from service_kit.client.retry import RetryPolicy

DONE = Prediction({}, "m", 1, 0, (0,), 1, 0.0, 0.0)
AWAY = errors.ServerStopping("away")
FULL = errors.QueueFull("full", retry_after=0.5)
WRONG = errors.InvalidTensor("float64")
POLICY = RetryPolicy(attempts=3, stream_attempts=4, first_pause=1.0)


def ledger(
    window: int = 4, *, in_order: bool = False, policy: RetryPolicy = POLICY
) -> StreamLedger[str]:
    return StreamLedger(policy, window=window, in_order=in_order, uniform=lambda: 0.5)


def sent(book: StreamLedger[str], now: float = 0.0) -> list[str]:
    found = []
    while (message := book.due(now)) is not None:
        found.append(message)
    return found


def say(book: StreamLedger[str], index: int, error: errors.PbserveError | None = None) -> None:
    answer = StreamAnswer(index, None if error else DONE, error)
    book.answer(answer, now=0.0, left=math.inf)


def taken(book: StreamLedger[str]) -> list[int]:
    found = []
    while (answer := book.take()) is not None:
        found.append(answer.index)
    return found


def test_the_window_counts_what_is_not_taken() -> None:
    book = ledger(window=2)
    book.add(0, "a")
    book.fail(1, WRONG)
    assert not book.has_place
    say(book, 0)
    assert not book.has_place
    assert book.take() is not None
    assert book.has_place


def test_what_a_server_refuses_for_the_moment_is_sent_again_when_it_says() -> None:
    book = ledger()
    book.add(0, "a")
    assert sent(book) == ["a"]
    say(book, 0, FULL)
    assert sent(book, now=0.9) == []
    assert book.due_in(0.9) == pytest.approx(0.1)
    # What was asked for, 0.5, and half of the first pause.
    assert sent(book, now=1.0) == ["a"]
    say(book, 0)
    assert taken(book) == [0]


def test_a_group_is_refused_only_so_often() -> None:
    book = ledger()
    book.add(0, "a")
    for _ in range(POLICY.stream_attempts):
        assert sent(book, now=math.inf) == ["a"]
        say(book, 0, FULL)
    answer = book.take()
    assert answer is not None
    assert answer.error is FULL


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    book = ledger()
    book.add(0, "a")
    sent(book)
    book.answer(StreamAnswer(0, None, FULL), now=0.0, left=0.9)
    assert taken(book) == [0]


def test_what_was_on_its_way_is_sent_again_in_its_order() -> None:
    book = ledger()
    for index, message in enumerate("abc"):
        book.add(index, message)
    assert sent(book) == ["a", "b", "c"]
    say(book, 1)
    assert book.lose(AWAY, left=math.inf) == 0.5
    assert sent(book) == ["a", "c"]


def test_a_stream_that_never_answered_is_given_up_sooner() -> None:
    book = ledger()
    book.add(0, "a")
    for _ in range(POLICY.attempts - 1):
        book.lose(AWAY, left=math.inf)
    with pytest.raises(errors.ServerStopping):
        book.lose(AWAY, left=math.inf)


def test_an_answer_renews_the_patience_with_streams() -> None:
    book = ledger(window=100)
    for index in range(20):
        book.add(index, str(index))
        for _ in range(POLICY.stream_attempts - 1 if index else 1):
            sent(book)
            book.lose(AWAY, left=math.inf)
        sent(book)
        say(book, index)
    assert taken(book) == list(range(20))


def test_a_group_that_brings_every_server_down_is_not_sent_for_ever() -> None:
    book = ledger(window=100)
    book.add(0, "poison")
    for index in range(1, POLICY.stream_attempts + 1):
        book.add(index, "good")
        assert sent(book)[0] == "poison"
        say(book, index)
        book.lose(AWAY, left=math.inf)
    assert sent(book) == []
    *good, poison = (book.take() for _ in range(POLICY.stream_attempts + 1))
    assert all(one and one.error is None for one in good)
    assert poison is not None
    assert (poison.index, poison.error) == (0, AWAY)


def test_what_does_not_pass_ends_the_stream() -> None:
    book = ledger()
    book.add(0, "a")
    with pytest.raises(errors.InvalidTensor):
        book.lose(WRONG, left=math.inf)


def test_a_second_answer_and_one_to_nothing_are_not_noted() -> None:
    book = ledger()
    book.add(0, "a")
    say(book, 0)
    sent(book)
    say(book, 7)
    say(book, 0)
    say(book, 0)
    assert taken(book) == [0]


def test_a_window_without_places_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match="at least 1 group"):
        ledger(window=0)


class Simulation:
    """A reader, servers and a caller who do what chance wants, one step at a time."""

    def __init__(self, choose: Callable[[Any], Any], count: int, *, in_order: bool) -> None:
        self.choose, self.count = choose, count
        self.window = choose(range(1, 7))
        policy = RetryPolicy(attempts=1000, stream_attempts=1000)
        self.book = ledger(self.window, in_order=in_order, policy=policy)
        self.now, self.added = 0.0, 0
        self.way: set[int] = set()
        self.found: list[int] = []

    def run(self) -> list[int]:
        steps = [self.add, self.send, self.say, self.repeat, self.lose, self.take, self.wait]
        while not self.book.is_settled or self.book.has_ready:
            if self.added == self.count:
                self.book.end()
            self.choose(steps)()
            assert self.added - len(self.found) <= self.window
        return self.found

    def add(self) -> None:
        if self.added == self.count or not self.book.has_place:
            return
        if self.choose([True, True, False]):
            self.book.add(self.added, str(self.added))
        else:
            self.book.fail(self.added, WRONG)
        self.added += 1

    def send(self) -> None:
        if (message := self.book.due(self.now)) is not None:
            assert int(message) not in self.way
            self.way.add(int(message))

    def say(self) -> None:
        if self.way:
            index = self.choose(sorted(self.way))
            self.way.discard(index)
            self._answer(index, self.choose([None, None, FULL, WRONG]))

    def repeat(self) -> None:
        if self.found:
            self._answer(self.choose(self.found), WRONG)

    def _answer(self, index: int, error: errors.PbserveError | None) -> None:
        answer = StreamAnswer(index, None if error else DONE, error)
        self.book.answer(answer, now=self.now, left=math.inf)

    def lose(self) -> None:
        self.now += self.book.lose(AWAY, left=math.inf)
        self.way.clear()

    def take(self) -> None:
        if (answer := self.book.take()) is not None:
            self.found.append(answer.index)

    def wait(self) -> None:
        self.now += 10


@pytest.mark.parametrize("in_order", [False, True])
@given(count=st.integers(0, 12), random=st.randoms(use_true_random=False))
def test_every_group_is_answered_exactly_once(
    count: int, random: Random, *, in_order: bool
) -> None:
    found = Simulation(random.choice, count, in_order=in_order).run()
    assert sorted(found) == list(range(count))
    assert not in_order or found == list(range(count))
