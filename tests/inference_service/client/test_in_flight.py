from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.client.in_flight import InFlightRequests
from inference_service.client.results import Prediction, StreamAnswer
from service_kit import errors
from service_kit.client.retry import RetryPolicy

DONE = Prediction({}, "m", 1, 0, (0,), 1, 0.0, 0.0)
AWAY = errors.ServerStopping("away")
FULL = errors.QueueFull("full", retry_after=0.5)
WRONG = errors.InvalidTensor("float64")
POLICY = RetryPolicy(attempts=3, stream_attempts=4, first_pause=1.0)


def in_flight(
    window: int = 4, *, in_order: bool = False, policy: RetryPolicy = POLICY
) -> InFlightRequests[str]:
    return InFlightRequests(policy, window=window, in_order=in_order, uniform=lambda: 0.5)


def sent(requests: InFlightRequests[str], now: float = 0.0) -> list[str]:
    found = []
    while (message := requests.due(now)) is not None:
        found.append(message)
    return found


def say(
    requests: InFlightRequests[str], index: int, error: errors.PbserveError | None = None
) -> None:
    answer = StreamAnswer(index, None if error else DONE, error)
    requests.answer(answer, now=0.0, left=math.inf)


def taken(requests: InFlightRequests[str]) -> list[int]:
    found = []
    while (answer := requests.take()) is not None:
        found.append(answer.index)
    return found


def test_the_window_counts_what_is_not_taken() -> None:
    requests = in_flight(window=2)
    requests.add(0, "a")
    requests.fail(1, WRONG)
    assert not requests.has_place
    say(requests, 0)
    assert not requests.has_place
    assert requests.take() is not None
    assert requests.has_place


def test_what_a_server_refuses_for_the_moment_is_sent_again_when_it_says() -> None:
    requests = in_flight()
    requests.add(0, "a")
    assert sent(requests) == ["a"]
    say(requests, 0, FULL)
    assert sent(requests, now=0.9) == []
    assert requests.due_in(0.9) == pytest.approx(0.1)
    # What was asked for, 0.5, and half of the first pause.
    assert sent(requests, now=1.0) == ["a"]
    say(requests, 0)
    assert taken(requests) == [0]


def test_a_group_is_refused_only_so_often() -> None:
    requests = in_flight()
    requests.add(0, "a")
    for _ in range(POLICY.stream_attempts):
        assert sent(requests, now=math.inf) == ["a"]
        say(requests, 0, FULL)
    answer = requests.take()
    assert answer is not None
    assert answer.error is FULL


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    requests = in_flight()
    requests.add(0, "a")
    sent(requests)
    requests.answer(StreamAnswer(0, None, FULL), now=0.0, left=0.9)
    assert taken(requests) == [0]


def test_what_was_on_its_way_is_sent_again_in_its_order() -> None:
    requests = in_flight()
    for index, message in enumerate("abc"):
        requests.add(index, message)
    assert sent(requests) == ["a", "b", "c"]
    say(requests, 1)
    assert requests.lose(AWAY, left=math.inf) == 0.5
    assert sent(requests) == ["a", "c"]


def test_a_stream_that_never_answered_is_given_up_sooner() -> None:
    requests = in_flight()
    requests.add(0, "a")
    for _ in range(POLICY.attempts - 1):
        requests.lose(AWAY, left=math.inf)
    with pytest.raises(errors.ServerStopping):
        requests.lose(AWAY, left=math.inf)


def test_an_answer_renews_the_patience_with_streams() -> None:
    requests = in_flight(window=100)
    for index in range(20):
        requests.add(index, str(index))
        for _ in range(POLICY.stream_attempts - 1 if index else 1):
            sent(requests)
            requests.lose(AWAY, left=math.inf)
        sent(requests)
        say(requests, index)
    assert taken(requests) == list(range(20))


def test_a_group_that_brings_every_server_down_is_not_sent_for_ever() -> None:
    requests = in_flight(window=100)
    requests.add(0, "poison")
    for index in range(1, POLICY.stream_attempts + 1):
        requests.add(index, "good")
        assert sent(requests)[0] == "poison"
        say(requests, index)
        requests.lose(AWAY, left=math.inf)
    assert sent(requests) == []
    *good, poison = (requests.take() for _ in range(POLICY.stream_attempts + 1))
    assert all(one and one.error is None for one in good)
    assert poison is not None
    assert (poison.index, poison.error) == (0, AWAY)


def test_what_does_not_pass_ends_the_stream() -> None:
    requests = in_flight()
    requests.add(0, "a")
    with pytest.raises(errors.InvalidTensor):
        requests.lose(WRONG, left=math.inf)


def test_a_second_answer_and_one_to_nothing_are_not_noted() -> None:
    requests = in_flight()
    requests.add(0, "a")
    say(requests, 0)
    sent(requests)
    say(requests, 7)
    say(requests, 0)
    say(requests, 0)
    assert taken(requests) == [0]


def test_a_window_without_places_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match="at least 1 group"):
        in_flight(window=0)


class Simulation:
    """A reader, servers and a caller who do what chance wants, one step at a time."""

    def __init__(self, choose: Callable[[Any], Any], count: int, *, in_order: bool) -> None:
        self.choose, self.count = choose, count
        self.window = choose(range(1, 7))
        policy = RetryPolicy(attempts=1000, stream_attempts=1000)
        self.requests = in_flight(self.window, in_order=in_order, policy=policy)
        self.now, self.added = 0.0, 0
        self.way: set[int] = set()
        self.found: list[int] = []

    def run(self) -> list[int]:
        steps = [self.add, self.send, self.say, self.repeat, self.lose, self.take, self.wait]
        while not self.requests.is_settled or self.requests.has_ready:
            if self.added == self.count:
                self.requests.end()
            self.choose(steps)()
            assert self.added - len(self.found) <= self.window
        return self.found

    def add(self) -> None:
        if self.added == self.count or not self.requests.has_place:
            return
        if self.choose([True, True, False]):
            self.requests.add(self.added, str(self.added))
        else:
            self.requests.fail(self.added, WRONG)
        self.added += 1

    def send(self) -> None:
        if (message := self.requests.due(self.now)) is not None:
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
        self.requests.answer(answer, now=self.now, left=math.inf)

    def lose(self) -> None:
        self.now += self.requests.lose(AWAY, left=math.inf)
        self.way.clear()

    def take(self) -> None:
        if (answer := self.requests.take()) is not None:
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
