from __future__ import annotations

import os
import threading

import pytest

from inference_service.loading.thread_priority import at_low_priority

NICEST = 19


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_work_gives_way_and_who_asks_for_it_does_not() -> None:
    before = niceness()
    assert at_low_priority(niceness) == min(before + 5, NICEST)
    assert niceness() == before


def test_work_gives_way_to_who_asks_for_it_whatever_the_niceness_of_that() -> None:
    nested = at_low_priority(lambda: at_low_priority(niceness))
    assert nested == min(niceness() + 10, NICEST)


def test_results_and_errors_come_through() -> None:
    assert at_low_priority(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        at_low_priority(lambda: 1 // 0)


def test_what_ends_a_thread_comes_through_too() -> None:
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        at_low_priority(leave)
