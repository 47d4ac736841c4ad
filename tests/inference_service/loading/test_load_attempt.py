from __future__ import annotations

import threading

import pytest

from inference_service.loading.load_attempt import LoadAttempt
from service_kit import errors
from tests.support.engines import MeanEngine


class Closed(MeanEngine):
    """Says when it has been closed."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def close(self) -> None:
        super().close()
        self.told.set()


def test_giving_up_closes_the_engine() -> None:
    attempt, engine = LoadAttempt("m/1"), Closed()
    attempt.take(engine)
    attempt.give_up()
    assert engine.told.wait(30)
    assert attempt.done() is None


def test_an_engine_that_comes_too_late_is_closed_at_once() -> None:
    attempt, engine = LoadAttempt("m/1"), MeanEngine()
    attempt.give_up()
    with pytest.raises(errors.LoadTimedOut):
        attempt.take(engine)
    assert engine.closed


def test_what_is_done_is_not_closed() -> None:
    attempt, engine = LoadAttempt("m/1"), MeanEngine()
    attempt.take(engine)
    assert attempt.done() is engine
    attempt.give_up()
    assert not engine.closed
