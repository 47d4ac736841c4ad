"""Does a server keep what it should give back? Load and swaps for minutes, and the slopes.

`make soak MINUTES=30`. Every answer is checked; a version is published every 20 s. Threads,
descriptors and resident memory are taken every two seconds, and a line is fitted to those of the
last three quarters: what grows, grows there. Exits with 1 if an answer was wrong or missing, or
if something grew by more than a bar over that time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inference_service.client import InferenceClient
from service_kit.store.artifact_store import ArtifactStore
from tests.support.checked_load import CheckedLoad
from tests.support.fault_checks import Resources, resources, states, until
from tests.support.hostile_graphs import plain, publish
from tests.support.services import Service, running

_SWAP_SECONDS, _SAMPLE_SECONDS = 20.0, 2.0
# Growth over the measured time that is still scatter: threads and descriptors by themselves, memory
# as a share of what there is.
_MAX_GROWTH, _MAX_MEMORY_GROWTH = 2.0, 0.05


def main() -> int:
    """Runs and prints; returns the exit code."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=30.0)
    minutes: float = options.parse_args().minutes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = ArtifactStore(str(folder / "models"))
        store.create()
        publish(store, folder / "graphs", "soak", plain(0.0))
        arguments = ("--store", store.url, "--poll", "0.5", "--state", str(folder / "state"))
        with running("inference_service", *arguments, log=folder / "log") as server:
            samples, answered = _soak(store, folder, server, minutes * 60)
    return _report(samples, answered)


def _soak(
    store: ArtifactStore, folder: Path, server: Service, seconds: float
) -> tuple[list[tuple[float, Resources]], int]:
    """Returns samples by the seconds since the beginning, and how many answers were right."""
    samples: list[tuple[float, Resources]] = []
    with InferenceClient(server.address) as client:
        client.wait_until_ready("soak")
        offsets = tuple(float(number % 7) for number in range(7))
        load = CheckedLoad(server.address, "soak", offsets)
        began, version = time.monotonic(), 1
        while (now := time.monotonic() - began) < seconds:
            samples.append((now, resources(server.pid)))
            if now > version * _SWAP_SECONDS:
                version += 1
                publish(store, folder / "graphs", "soak", plain(offsets[version % 7]))
                wanted = {version: "AVAILABLE"}
                until(lambda: states(client, "soak") == wanted)  # noqa: B023
            time.sleep(_SAMPLE_SECONDS)
        load.end()
    return samples, load.answered


def _report(samples: Sequence[tuple[float, Resources]], answered: int) -> int:
    settled = samples[len(samples) // 4 :]
    hours = np.array([at / 3600 for at, _ in settled])
    print(f"{answered} answers, all right, once each; {samples[-1][0] / 60:.1f} minutes")
    print(f"{'':12}{'first':>12}{'last':>12}{'per hour':>12}{'here':>10}")
    grown = False
    for name, scale in (("threads", 1.0), ("descriptors", 1.0), ("resident_bytes", 2.0**20)):
        values = np.array([getattr(one, name) / scale for _, one in settled])
        slope = float(np.polyfit(hours, values, 1)[0]) if len(settled) > 2 else 0.0
        growth = slope * float(hours[-1] - hours[0])
        bar = _MAX_GROWTH if scale == 1.0 else _MAX_MEMORY_GROWTH * float(values[0])
        grown |= growth > bar
        shown = name if scale == 1.0 else "MiB"
        print(f"{shown:12}{values[0]:12.1f}{values[-1]:12.1f}{slope:12.1f}{growth:10.2f}")
    return int(grown)


if __name__ == "__main__":
    sys.exit(main())
