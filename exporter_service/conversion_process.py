"""Runs TensorFlow's part of a request in a spawned process that may die on its own.

The server's process never loads TensorFlow: a crash, a leak or an abort costs the one request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import structlog

from exporter_service.progress import Progress, Report, Step
from service_kit import errors

_log = structlog.get_logger(__name__)
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Task:
    """A call to make in another process.

    `entry` is the import path, `module:function`, so that only that process imports it; the
    function takes `arguments` and then a `Report`.
    """

    entry: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Done:
    result: Any


class _Defect(Exception):  # its text is the trace in the conversion's process
    pass


class ConversionProcesses:
    """A bounded number of conversion processes, one a task."""

    def __init__(self, limit: int) -> None:
        """Allows `limit` processes at the same time; further tasks wait for a place."""
        self._places = asyncio.Semaphore(limit)
        self._callers: set[asyncio.Task[Any]] = set()
        # One blocking receive a process.
        self._threads = ThreadPoolExecutor(limit, thread_name_prefix="conversion")

    async def run(self, task: Task, report: Report) -> Any:
        """Returns the task's result; progress is reported as it comes.

        Cancelling this call kills the process.

        Raises:
            PbserveError: as the task raised it.
            ConversionCrashed: the process ended without a result.
            Exception: the task raised anything else; carries its trace.
        """
        if self._places.locked():
            report(Progress(Step.QUEUED))
        async with self._places:
            report(Progress(Step.START))
            caller = asyncio.current_task()
            assert caller is not None
            self._callers.add(caller)
            try:
                return await self._supervise(task, report)
            finally:
                self._callers.discard(caller)

    async def close(self) -> None:
        """Kills what still runs, cancelling its callers, and frees the threads."""
        callers = set(self._callers)
        for caller in callers:
            caller.cancel()
        if callers:
            await asyncio.wait(callers)
        self._threads.shutdown()

    async def _supervise(self, task: Task, report: Report) -> Any:
        receiver, sender = _SPAWN.Pipe(duplex=False)
        process = _SPAWN.Process(target=_work, args=(sender, task), daemon=True)
        pending: asyncio.Future[Any] = self._in_thread(process.start)
        try:
            # Shielded: cancelling must not make us forget the thread that still runs.
            await asyncio.shield(pending)
            sender.close()
            _log.info("conversion_process_started", pid=process.pid)
            while True:
                pending = self._in_thread(receiver.recv)
                try:
                    message = await asyncio.shield(pending)
                except (EOFError, OSError):
                    # The process is gone, perhaps in the middle of a message.
                    await self._in_thread(process.join)
                    raise errors.ConversionCrashed(
                        f"the conversion's process {_end_of(process)} before it was done; "
                        "nothing was published, and the next conversion starts a new process"
                    ) from None
                if isinstance(message, Progress):
                    report(message)
                elif isinstance(message, _Done):
                    return message.result
                else:
                    raise message
        finally:
            await asyncio.shield(self._end(process, receiver, pending))

    async def _end(
        self, process: SpawnProcess, receiver: Connection, pending: Awaitable[Any]
    ) -> None:
        """Kills the process if it still runs, and only then closes what a thread may read."""
        if process.pid is None:
            with contextlib.suppress(Exception):
                await pending
        if process.pid is not None:
            process.kill()
            with contextlib.suppress(Exception):
                await pending
            await self._in_thread(process.join)
        receiver.close()

    def _in_thread(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(self._threads, call)


def _end_of(process: SpawnProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = "; perhaps the system ran out of memory" if -code == signal.SIGKILL else ""
        return f"was ended by {name}{hint}"
    return f"exited with code {code}"


def _work(sender: Connection, task: Task) -> None:
    """Runs in the new process: makes the call and sends what came of it."""
    # Ctrl-C goes to the whole terminal group; the server decides what ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # The cards belong to the services that serve; a conversion needs none.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    answer: Any
    try:
        name, _, function = task.entry.partition(":")
        with _silent_import():
            module = import_module(name)
        answer = _Done(getattr(module, function)(*task.arguments, sender.send))
    except errors.PbserveError as error:
        answer = error
    except Exception:
        answer = _Defect(f"in the conversion's process:\n{traceback.format_exc()}")
    sender.send(answer)


@contextlib.contextmanager
def _silent_import() -> Iterator[None]:
    """Keeps what TensorFlow's libraries say when they are loaded out of the service's log.

    They write to the descriptor itself before any log level is in force. An import that fails
    still raises.
    """
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
