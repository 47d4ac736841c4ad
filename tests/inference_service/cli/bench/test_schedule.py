from __future__ import annotations

import threading

import pytest

from inference_service.cli.bench.schedule import ClosedLoop, OpenLoop


class Clock(threading.Event):
    """Time that passes when somebody waits for the stop that does not come."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.slept.append(timeout)
        self.now += timeout
        return self.is_set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_closed_loop_has_so_many_under_way_and_is_due_when_a_place_is_free(clock: Clock) -> None:
    loop = ClosedLoop(2, 110.0, clock, clock)
    assert (loop.next(), loop.next()) == (100.0, 100.0)
    clock.now = 103.0
    loop.answered(0.0)
    assert loop.next() == 103.0
    # Nothing is answered until the end.
    clock.now = 110.0
    assert loop.next() is None


def test_a_closed_loop_waits_as_long_as_the_server_asks(clock: Clock) -> None:
    loop = ClosedLoop(1, 110.0, clock, clock)
    loop.next()
    loop.answered(2.5)
    assert loop.next() == 102.5
    loop.answered(60.0)
    assert loop.next() is None
    assert clock.now == 110.0


def test_an_open_loop_is_due_at_fixed_times(clock: Clock) -> None:
    loop = OpenLoop(100.0, 100.9, 0.25, 99, clock, clock)
    assert [loop.next() for _ in range(5)] == [100.0, 100.25, 100.5, 100.75, None]
    assert clock.slept == pytest.approx([0.25] * 3)


def test_an_open_loop_that_is_held_up_was_due_all_the_same(clock: Clock) -> None:
    loop = OpenLoop(100.0, 200.0, 1.0, 99, clock, clock)
    loop.next()
    clock.now = 104.5  # a stall of 3.5 s
    assert [loop.next() for _ in range(5)] == [101.0, 102.0, 103.0, 104.0, 105.0]
    assert clock.slept == pytest.approx([0.5])


def test_an_open_loop_holds_what_memory_can(clock: Clock) -> None:
    loop = OpenLoop(0.0, 1000.0, 1.0, 3, clock, clock)
    assert [loop.next() for _ in range(3)] == [0.0, 1.0, 2.0]
    waiting: list[float | None] = []
    asks = threading.Thread(target=lambda: waiting.append(loop.next()))
    asks.start()
    loop.answered(0.0)
    asks.join(10)
    # Late, and due when it was due.
    assert waiting == [3.0]


def test_what_was_not_sent_is_due_as_before(clock: Clock) -> None:
    loop = OpenLoop(90.0, 200.0, 1.0, 99, clock, clock)
    assert (loop.next(), loop.next()) == (90.0, 91.0)
    loop.give_back(90.0)
    assert (loop.next(), loop.next()) == (90.0, 92.0)
    closed = ClosedLoop(1, 200.0, clock, clock)
    closed.give_back(closed.next() or 0.0)
    assert closed.next() == 100.0


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_who_waits_is_woken_by_the_stop(kind: str) -> None:
    stopped = threading.Event()
    clock = Clock()
    loop = (
        ClosedLoop(1, 1e6, stopped, clock)
        if kind == "closed"
        else OpenLoop(0.0, 1e6, 1.0, 1, stopped, clock)
    )
    loop.next()
    seen: list[float | None] = []
    waits = threading.Thread(target=lambda: seen.append(loop.next()))
    waits.start()
    stopped.set()
    loop.wake()
    waits.join(10)
    assert seen == [None]
