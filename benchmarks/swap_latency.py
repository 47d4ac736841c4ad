"""What do requests notice of a swap?

A caller of DenseNet-169 and a caller of the digits model wait for one answer after the other. Their
latencies while a new version of DenseNet-169 is loaded, warmed and swapped in are compared with
those before, in the same run.

    python benchmarks/swap_latency.py [swaps]
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from densenet169 import SIDE, Graph, convert_random, server

STEADY_SECONDS = 30.0


class Caller:
    """Asks one image at a time and remembers when each answer came and how long it took."""

    def __init__(self, address: str, model: str, image: np.ndarray) -> None:
        self.samples: list[tuple[float, float]] = []
        self._address, self._model, self._image = address, model, image
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        from inference_service.client import InferenceClient

        with InferenceClient(self._address) as client:
            while not self._ended.is_set():
                began = time.perf_counter()
                client.predict(self._model, self._image)
                now = time.perf_counter()
                self.samples.append((now, now - began))

    def end(self) -> None:
        """Stops asking."""
        self._ended.set()
        self._thread.join()

    def between(self, spans: list[tuple[float, float]]) -> np.ndarray:
        """Returns the milliseconds of the answers that came within one of the spans."""
        inside = [took for at, took in self.samples if any(a <= at <= b for a, b in spans)]
        return np.array(inside) * 1e3


def digits() -> tuple[Graph, np.ndarray]:
    """Converts the golden digits; returns an image of theirs, too."""
    from tests.support.digits import convert_and_prove, digits_spec, expected

    folder = Path(tempfile.mkdtemp())
    done = convert_and_prove(digits_spec(cards=2), folder)
    return Graph(done, folder / done.graph.file_name), expected()["images"][:1]


def run(folder: Path, swaps: int) -> None:
    """Prints the percentiles."""
    from inference_service.client import InferenceClient
    from service_kit.store.artifact_store import ArtifactStore

    store = ArtifactStore(f"{folder}/models")
    store.create()
    graph, (small, digit) = convert_random(folder, 2), digits()
    store.publish("digits", small.conversion, small.path)
    store.publish("densenet169", graph.conversion, graph.path)
    image = np.random.default_rng(0).uniform(0, 255, (1, SIDE, SIDE, 3)).astype(np.float32)
    options = ("--store", store.url, "--poll", "0.1", "--max-batch-size", "8")
    with server(*options) as (address, _), InferenceClient(address) as client:
        for model in ("densenet169", "digits"):
            client.wait_until_ready(model, timeout=300)
        for name, models in {
            "densenet169 alone": {"densenet169": image},
            "digits alone": {"digits": digit},
            "both": {"densenet169": image, "digits": digit},
        }.items():
            callers = {model: Caller(address, model, one) for model, one in models.items()}
            time.sleep(2)
            steady = [(time.perf_counter(), time.perf_counter() + STEADY_SECONDS)]
            time.sleep(STEADY_SECONDS)
            spans = []
            for _ in range(swaps):
                began = time.perf_counter()
                version = store.publish("densenet169", graph.conversion, graph.path).version
                while [v.version for v in client.model("densenet169").versions] != [version]:
                    time.sleep(0.05)
                spans.append((began, time.perf_counter()))
                time.sleep(1)
            for caller in callers.values():
                caller.end()
            took = sum(b - a for a, b in spans) / len(spans)
            for model, caller in callers.items():
                before, during = caller.between(steady), caller.between(spans)
                print(
                    f"{name}: {model:12} steady {_percentiles(before)}, during {swaps} swaps of "
                    f"{took:.1f} s {_percentiles(during)}: p99 "
                    f"{np.percentile(during, 99) / np.percentile(before, 99):.2f} times",
                    flush=True,
                )


def _percentiles(milliseconds: np.ndarray) -> str:
    middle, high = np.percentile(milliseconds, [50, 99])
    return f"p50 {middle:.1f} p99 {high:.1f} ms of {len(milliseconds)}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        run(Path(scratch), int(sys.argv[1]) if len(sys.argv) > 1 else 5)
