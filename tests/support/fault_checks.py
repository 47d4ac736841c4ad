"""What scenarios of faults wait for, and how they end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference_service.client import InferenceClient
from service_kit import errors
from tests.support.engines import pixels
from tests.support.services import Service

_PAUSE = 0.05


def until(seen: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Returns when `seen` says so; fails after so many seconds."""
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, "waited in vain"
        threading.Event().wait(_PAUSE)


def states(client: InferenceClient, model: str) -> dict[int, str]:
    """Returns version -> state; nothing for a model that is not known."""
    with contextlib.suppress(errors.ModelNotFound):
        return {one.version: one.state for one in client.model(model).versions}
    return {}


def reason(client: InferenceClient, model: str, version: int = 1) -> str:
    """Returns why a version failed."""
    versions = client.model(model).versions
    return next(one.reason for one in versions if one.version == version)


def answers_right(client: InferenceClient, model: str, offset: float = 0.0) -> bool:
    """Whether a graph that adds a number to channel means does that."""
    found = client.predict(model, pixels(0.25, 0.5)).outputs["probs"]
    return bool(np.allclose(found, np.array([[0.25], [0.5]]) + offset, atol=1e-6))


def end(service: Service, number: signal.Signals = signal.SIGTERM, *, seconds: float = 30) -> int:
    """Ends a server by a signal, and returns its exit code."""
    service.process.send_signal(number)
    return service.process.wait(seconds)


@dataclass(frozen=True, slots=True)
class Resources:
    """What a process has at one moment."""

    descriptors: int
    threads: int
    resident_bytes: int
    processor_seconds: float


def resources(pid: int) -> Resources:
    """Returns what a process has."""
    folder = Path(f"/proc/{pid}")
    # The name, which may have anything in it, is in parentheses.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return Resources(
        descriptors=len(list((folder / "fd").iterdir())),
        threads=int(fields[17]),
        resident_bytes=int(fields[21]) * os.sysconf("SC_PAGESIZE"),
        processor_seconds=(int(fields[11]) + int(fields[12])) / tick,
    )
