"""How a service's process is told to end, and that it does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

_log = structlog.get_logger(__name__)
# Of threads that read or write, when the program has nothing left to do.
_LAST_SECONDS = 2.0


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


async def end_despite(all_ended: Callable[[], Awaitable[bool]]) -> None:
    """Ends the process at once, as in order, if threads still run that would hold up its end.

    Python waits for threads of the loop, which may hang in a store, and may crash when others run
    on in foreign code while it takes itself down. To be called when nothing else is left to do.

    Args:
        all_ended: waits a little for other threads; False: some still run.
    """
    loop = asyncio.get_running_loop()
    try:
        if await all_ended():
            await asyncio.wait_for(loop.shutdown_default_executor(), _LAST_SECONDS)
            return
    except (asyncio.TimeoutError, TimeoutError):
        pass
    _log.warning("threads_left", message="threads were still running")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


async def end_when_lost(server: Any, stopped: Callable[[], bool]) -> None:
    """Ends the process at once when a `grpc.aio` server has ended that nobody has stopped.

    An error in gRPC's own loop closes the port for good, while the process, and its health port,
    go on: nothing would start it anew. May not be cancelled: the server's end would be, too.

    Args:
        server: has been started.
        stopped: tells whether it was to end.
    """
    try:
        await server.wait_for_termination()
    except Exception:
        if stopped():
            return
        _log.exception("port_lost")
    else:
        if stopped():
            return
        _log.error("port_lost")
    os._exit(1)
