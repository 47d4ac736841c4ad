"""The two services as processes of `pbserve up`: started, listened to, ended together."""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import IO

from typing_extensions import Self

from service_kit import errors

# What a service prints where it listens, and where its pages are.
_LISTENING = re.compile(r" listening on (\S+)$")
_PAGE = re.compile(r" (?:status page|metrics) on (http://\S+)$")
_KEPT_LINES = 20
# After its own lame duck and grace, a service frees models; then it is killed.
_LAST_SECONDS = 30.0
_SHOWN_LEVELS = ("warning", "error", "critical")
# A record of what was changed, which nobody has to act on.
_AUDIT = "audit"
# The page is announced right after the address.
_PAGE_SECONDS = 2.0


class ServiceProcess:
    """One service. Its log goes on as the lines of it that somebody has to read."""

    def __init__(
        self,
        program: str,
        package: str,
        options: Sequence[str],
        ended: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        """Starts the process, without waiting for it.

        Args:
            program: what it is called: `pbexport`.
            package: what runs: `exporter_service`.
            options: of its command `serve`.
            ended: called from another thread when the process has ended.
            say: takes a line for the terminal, from another thread.
        """
        self.program = program
        self._say, self._ended = say, ended
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._last: deque[str] = deque(maxlen=_KEPT_LINES)
        # Settings of servers that may run here would not be those of these two.
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PBSERVE_", "PBEXPORT_"))
        }
        command = [sys.executable, "-m", "inference_service.cli.up.bound", str(os.getpid())]
        self._process = subprocess.Popen(
            [*command, package, "serve", "--log-format", "json", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            # Ctrl-C reaches the command alone, which ends both in order.
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=read, daemon=True, name=f"{program} {name}")
            for name, read in (("output", self._read_output), ("log", self._read_log))
        ]
        for reader in self._readers:
            reader.start()

    def listening(self) -> tuple[str, str]:
        """Waits until the service listens; returns its address, and its page's URL or "".

        Raises:
            ServerStopping: it ended instead; has its last lines.
        """
        address = ""
        while True:
            try:
                line = self._lines.get(timeout=_PAGE_SECONDS if address else None)
            except queue.Empty:
                # Its page has no port: another server of this machine has the default one.
                return address, ""
            if line is None:
                raise self.failure()
            if match := _LISTENING.search(line):
                address = match[1]
            elif address and (match := _PAGE.search(line)):
                return address, match[1]

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def failure(self) -> errors.ServerStopping:
        """Returns the error of a process that has ended, with its last words."""
        code = self._process.wait()
        for reader in self._readers:
            reader.join(timeout=1.0)
        said = [line.removeprefix("error: ") for line in self._last if line.startswith("error: ")]
        words = said[-1:] or list(self._last)
        return errors.ServerStopping(
            f"{self.program} ended with code {code}" + (f": {chr(10).join(words)}" if words else "")
        )

    def tell_to_end(self) -> None:
        """Has the service answer what it accepted, and end."""
        if self.is_running:
            self._process.terminate()

    def wait(self) -> None:
        """Waits until the process has ended; kills one that does not."""
        try:
            self._process.wait(_LAST_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """Ends the process at once."""
        self._process.kill()

    def _read_output(self) -> None:
        for line in _lines(self._process.stdout):
            self._lines.put(line)
        self._process.wait()
        self._lines.put(None)
        self._ended()

    def _read_log(self) -> None:
        for line in _lines(self._process.stderr):
            text = _worth_reading(line)
            if text is None:
                # What is no log is said by libraries, or is a service's last word.
                self._last.append(line)
            elif text:
                self._say(f"{self.program}: {text}")


class Services:
    """Both services; a context manager that ends them."""

    def __init__(self, processes: Sequence[ServiceProcess]) -> None:
        """Looks after processes that have been started."""
        self._processes = processes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in self._processes:
            one.tell_to_end()
        try:
            for one in self._processes:
                one.wait()
        except KeyboardInterrupt:
            # Asked a second time: at once.
            for one in self._processes:
                one.kill()
            raise


def _lines(pipe: IO[str] | None) -> Iterator[str]:
    assert pipe is not None
    with pipe:
        for line in pipe:
            yield line.rstrip("\n")


def _worth_reading(line: str) -> str | None:
    """Returns a log line for people; empty: not worth a person's time; None: it is no log."""
    try:
        entry = json.loads(line)
        level, event = entry["level"], entry["event"]
    except (ValueError, KeyError, TypeError):
        return None
    if level not in _SHOWN_LEVELS or event == _AUDIT:
        return ""
    text = entry.get("message") or entry.get("reason") or entry.get("error") or ""
    return f"{level}: {event}" + (f": {text}" if text else "")
