"""Work beside the requests that gives way to them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")

# A thread that is so much nicer gets about a third of the time of a core that it shares with
# another; `benchmarks/swap_latency.py` shows what that does to requests.
_NICENESS = 5


# Seconds after which Python lets another thread run. While a graph is imported, a request would
# wait at each of its changes of thread for as long as Python's own 0.005. Where nothing holds the
# interpreter's lock for long, so short a time only has threads interrupt each other: it took a
# third more processor time a request.
_SWITCH_SECONDS, _SWITCH_SECONDS_WHILE_LOADING = 0.001, 0.0001
_loads = 0
_counting = threading.Lock()


@contextlib.contextmanager
def taking_turns() -> Iterator[None]:
    """Has work that holds the interpreter's lock for long give it up often, until the block ends.

    For the whole process; blocks may overlap.
    """
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(change: int) -> None:
    global _loads  # noqa: PLW0603 - the interpreter has one interval
    with _counting:
        _loads += change
        sys.setswitchinterval(_SWITCH_SECONDS_WHILE_LOADING if _loads else _SWITCH_SECONDS)


def at_low_priority(work: Callable[[], Result]) -> Result:
    """Returns what `work` returns, computed on a thread that gives way to others. Blocks.

    Meant for work that holds the interpreter's lock rarely: who waits for a lock waits longer for
    a holder that gives way. On systems whose threads have no priority of their own it runs as
    everything else does.
    """
    result: Future[Result] = Future()

    def run() -> None:
        # A thread cannot take its niceness back, which is why it has to be a new one.
        with contextlib.suppress(OSError):
            me = threading.get_native_id()
            niceness = os.getpriority(os.PRIO_PROCESS, me) + _NICENESS
            os.setpriority(os.PRIO_PROCESS, me, niceness)
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    thread = threading.Thread(target=run, name="warm", daemon=True)
    thread.start()
    return result.result()
