"""DenseNet-169 with random weights, 256x256, two classes: what the other benchmarks serve."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service_kit.artifacts.manifest import Conversion

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SIDE = 256


@dataclass(frozen=True)
class Graph:
    """A converted graph that can be published under many versions."""

    conversion: Conversion
    path: Path


def convert_random(folder: Path, cards: int) -> Graph:
    """Converts a random checkpoint into a graph with so many towers."""
    from tests.support.densenet169 import convert_densenet169

    return Graph(*convert_densenet169(folder, cards))


@contextlib.contextmanager
def server(*options: str) -> Iterator[tuple[str, int]]:
    """Runs the inference service in a process of its own; yields address and process id."""
    command = [sys.executable, "-m", "inference_service", "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        [*command, "--metrics-listen", "127.0.0.1:0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1], process.pid
        finally:
            process.terminate()


def resident_megabytes(pid: int) -> float:
    """Returns the resident memory of a process, in units of 2**20 bytes."""
    return (
        int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
    )
