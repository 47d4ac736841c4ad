"""The inside of a process that runs one task: what it is told, does and answers.

Imports little, because every such process imports it.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from exporter_service.specs.progress import Report
from exporter_service.workers.process_memory import process_memory
from service_kit import errors


@dataclass(frozen=True, slots=True)
class Task:
    """A call to make in another process.

    `entry` is the import path, `module:function`, so that only that process imports it; the
    function takes `arguments` and then a `Report`.
    """

    entry: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """The process has imported what it was told to, and waits for its task."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The process has its task. Before this, another process can have it instead."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of the task: a result or an error, and the most memory it took."""

    result: Any = None
    error: Exception | None = None
    peak_bytes: int = 0


class Defect(Exception):
    """The task raised what it should not; the text is the trace in its process."""


def work(connection: Connection, modules: tuple[str, ...]) -> None:
    """Runs in the new process: imports `modules`, waits for one task and answers it."""
    # Ctrl-C goes to the whole terminal group; the server decides what ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # The cards belong to the services that serve; a conversion needs none.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with _silent_import():
        for name in modules:
            import_module(name)
    # A server that is gone has no use for this process, nor for its opinion of that.
    with contextlib.suppress(EOFError, ConnectionError):
        connection.send(Ready())
        pickled = connection.recv_bytes()
        connection.send(Begun())
        connection.send(_answer(pickled, connection.send))


def _answer(pickled: bytes, report: Report) -> Answer:
    try:
        task: Task = pickle.loads(pickled)  # noqa: S301 - our server's
        name, _, function = task.entry.partition(":")
        with _silent_import():
            module = import_module(name)
        result = getattr(module, function)(*task.arguments, report)
    except errors.PbserveError as error:
        return Answer(error=error, peak_bytes=_peak_bytes())
    except Exception:
        defect = Defect(f"in the conversion's process:\n{traceback.format_exc()}")
        return Answer(error=defect, peak_bytes=_peak_bytes())
    return Answer(result, peak_bytes=_peak_bytes())


def _peak_bytes() -> int:
    memory = process_memory()
    return memory.peak_bytes if memory else 0


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
