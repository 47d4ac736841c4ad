"""One spawned process that runs one task, seen from the server."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import pickle
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Any

import structlog

from exporter_service.specs.progress import Progress, Report
from exporter_service.workers.worker import Answer, Begun, Ready, Task, work
from service_kit import errors

_log = structlog.get_logger(__name__)
_SPAWN = multiprocessing.get_context("spawn")
# Starting a process makes multiprocessing reap others; who waits for one of those at that
# moment would not learn how it ended.
_STARTS_AND_ENDS = threading.Lock()


class NotBegun(Exception):
    """The process ended before it had its task: another one can run it. Says how it ended."""


class TaskProcess:
    """Imports modules, waits for a task, runs it, and ends.

    Its owner calls `end` when it is done with it.
    """

    def __init__(self, modules: tuple[str, ...] = ()) -> None:
        """Starts the process, without waiting for it; it is ready when it has `modules`."""
        self.ready = asyncio.Event()
        self._modules = modules
        self._loop = asyncio.get_running_loop()
        # None says that the process has ended and no more will come.
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._pid: int | None = None
        self._unwanted = False
        self._ours, self._theirs = _SPAWN.Pipe()
        # Nobody may write into a descriptor while another thread closes it.
        self._writing = threading.Lock()
        self._process = _SPAWN.Process(target=work, args=(self._theirs, modules), daemon=True)
        # Of its own, so that any number of processes has threads enough: one lives with the
        # process, the other sends the task.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="conversion")
        self.ended: asyncio.Future[int | None] = self._loop.run_in_executor(
            self._threads, self._live
        )
        self.ended.add_done_callback(self._retire)

    @property
    def pid(self) -> int | None:
        """The process's id, from the moment it has one."""
        return self._pid

    async def run(self, task: Task, report: Report) -> Answer:
        """Hands over the task, reports its progress, and returns its answer.

        Raises:
            NotBegun: the process ended before it had the task.
            ConversionCrashed: the process ended without an answer.
        """
        pickled = pickle.dumps(task)
        begun = False
        if not self.ended.done():
            self._loop.run_in_executor(self._threads, self._send, pickled)
        while (message := await self._messages.get()) is not None:
            if isinstance(message, Progress):
                report(message)
            elif isinstance(message, Begun):
                begun = True
                _log.info("conversion_process_started", entry=task.entry, pid=self.pid)
            else:
                answer: Answer = message
                return answer
        if not begun:
            raise NotBegun(self.how_it_ended())
        raise errors.ConversionCrashed(
            f"the conversion's process {self.how_it_ended()} before it was done; "
            "nothing was published, and the next conversion starts a new process"
        )

    def kill(self) -> None:
        """Ends the process, at the latest when it has been started."""
        self._unwanted = True
        if self._pid is not None and not self.ended.done():
            self._process.kill()

    async def end(self) -> None:
        """Kills the process if it still runs and returns when nothing is left of it."""
        self.kill()
        await asyncio.wait([self.ended])

    def how_it_ended(self) -> str:
        """Returns, as the rest of a sentence, how the process ended."""
        if (error := self.ended.exception()) is not None:
            return f"could not be started ({error})"
        code = self.ended.result()
        if code is not None and code < 0:
            hint = "; perhaps the system ran out of memory" if -code == signal.SIGKILL else ""
            return f"was ended by {signal.Signals(-code).name}{hint}"
        return f"exited with code {code}"

    def _hear(self, message: Any) -> None:
        if not isinstance(message, Ready):
            self._messages.put_nowait(message)
        else:
            self.ready.set()
            if self._modules:
                _log.info("conversion_process_warm", pid=self.pid)

    def _retire(self, ended: asyncio.Future[int | None]) -> None:
        self._messages.put_nowait(None)
        self._threads.shutdown(wait=False)
        # On the event loop, as `kill` is. Its descriptors would otherwise stay for a while.
        self._process.close()
        # Whoever wants to know how it ended asks again.
        ended.exception()

    # What follows runs in the process's threads.

    def _live(self) -> int | None:
        """Starts the process, passes on what it says, and returns its exit code."""
        try:
            self._start()
            self._listen()
            # Not `join`: that must be short, and nobody knows how long a process takes to end.
            wait([self._process.sentinel])
            with _STARTS_AND_ENDS:
                self._process.join()
                return self._process.exitcode
        finally:
            with self._writing:
                self._ours.close()

    def _start(self) -> None:
        try:
            with _STARTS_AND_ENDS:
                # This unblocks signals, if it has something to do.
                resource_tracker.ensure_running()
                # The process inherits it: Ctrl-C must not reach it before it can say so itself.
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
                self._process.start()
                self._pid = self._process.pid
        finally:
            # As long as this end is open here, nobody learns that the process is gone.
            self._theirs.close()
        if self._unwanted:
            self._process.kill()

    def _listen(self) -> None:
        # It ends with the process, perhaps in the middle of a message.
        with contextlib.suppress(EOFError, OSError):
            while True:
                try:
                    message = self._ours.recv()
                except (EOFError, OSError):
                    raise
                except Exception as error:
                    # Bytes that mean nothing here; the stream is of no use any more.
                    self._process.kill()
                    message = Answer(error=error)
                self._loop.call_soon_threadsafe(self._hear, message)

    def _send(self, pickled: bytes) -> None:
        # A process that is gone is noticed where it is listened to.
        with self._writing, contextlib.suppress(OSError):
            if not self._ours.closed:
                self._ours.send_bytes(pickled)
