"""Work beside the requests that gives way to them."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")

# A thread that is so much nicer gets about a third of the time of a core that it shares with
# another; `benchmarks/swap_latency.py` shows what that does to requests.
_NICENESS = 5


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
