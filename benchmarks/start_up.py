"""How long until a server can be asked, and what does it hold then?

Starts the inference service anew over a store with DenseNet-169 on two cards: the seconds until its
port is open, until health says SERVING (the model is warmed), and the resident memory then. What a
start-up probe has to allow for is the first.

    python benchmarks/start_up.py [starts]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from densenet169 import convert_random, resident_megabytes, server


def start(store: Path) -> tuple[float, float, float]:
    """Returns the seconds to the port and to readiness, and megabytes."""
    from inference_service.client import InferenceClient

    began = time.perf_counter()
    with server("--store", str(store)) as (address, pid), InferenceClient(address) as client:
        opened = time.perf_counter() - began
        client.wait_until_ready(timeout=300)
        return opened, time.perf_counter() - began, resident_megabytes(pid)


def main(starts: int) -> None:
    """Prints the median and the extremes."""
    with tempfile.TemporaryDirectory() as folder:
        from service_kit.store.artifact_store import ArtifactStore

        graph = convert_random(Path(folder), 2)
        store = ArtifactStore(str(Path(folder) / "models"))
        store.create()
        store.publish("densenet169", graph.conversion, graph.path)
        # The first one fills the system's cache of files.
        measured = [start(Path(folder) / "models") for _ in range(starts + 1)][1:]
    for what, unit, values in zip(
        ("port open", "ready", "resident"), ("s", "s", "MiB"), zip(*measured, strict=True),
        strict=True,
    ):  # fmt: skip
        middle, low, high = statistics.median(values), min(values), max(values)
        print(f"{what}: {middle:.1f} {unit} ({low:.1f} to {high:.1f} in {starts} starts)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
