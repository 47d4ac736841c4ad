"""How a service's process is told to end, and that it does."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import structlog

_log = structlog.get_logger(__name__)


def stop_signal() -> asyncio.Event:
    """Returns an event that SIGTERM or SIGINT sets from now on.

    Call it before anybody can know that the program runs. A second signal ends the program
    at once.
    """
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)

    def tell(name: str) -> None:
        _log.info("stopping", signal=name)
        told.set()
        for number in signals:
            # The shell's convention for a program that a signal ended.
            loop.add_signal_handler(number, os._exit, 128 + number)

    for number in signals:
        loop.add_signal_handler(number, tell, number.name)
    return told


def end_at_last(seconds: float) -> None:
    """Ends the process after so many seconds, whatever its threads do.

    A thread that hangs in foreign code, an image's decoder or a graph, would keep the process for
    ever: Python waits for threads, and nothing can stop them.
    """

    def end() -> None:
        _log.error("end_forced", message="threads were still running")
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
