"""What do more inference processes bring, and what does it cost when one of them dies?

1, 2 and 4 processes serve the golden digits on loopback; 8 threads stream single images to all of
them through the client's own round robin. Then one of the processes is killed under the same load.

    python benchmarks/replicas.py [seconds]
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from densenet169 import server

CALLERS = 8
REPLICAS = (1, 2, 4)


class Load:
    """Threads that each stream images until they are told to end."""

    def __init__(self, target: str, images: np.ndarray, expected: np.ndarray) -> None:
        self.answered = self.failed = self.wrong = 0
        self._target, self._images, self._expected = target, images, expected
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        from inference_service.client import InferenceClient

        with InferenceClient(self._target) as client:
            while not self._ended.is_set():
                # Short streams: each one is put on one server.
                for answer in client.stream("digits", (one[None] for one in self._images[:32])):
                    self._count(answer)

    def _count(self, answer: object) -> None:
        prediction = answer.prediction  # type: ignore[attr-defined]
        with self._lock:
            if prediction is None:
                self.failed += 1
                return
            self.answered += 1
            wanted = self._expected[answer.index]  # type: ignore[attr-defined]
            self.wrong += bool(np.abs(prediction.outputs["probs"][0] - wanted).max() > 1e-5)

    def end(self) -> None:
        """Stops asking."""
        self._ended.set()
        for thread in self._threads:
            thread.join()


def answered_by(address: str) -> int:
    """Returns the images that one server has answered."""
    from inference_service.client import InferenceClient

    with InferenceClient(address) as client:
        (version,) = client.model("digits").versions
        return sum(card.answered_images for card in version.cards)


def run(folder: Path, seconds: float) -> None:
    """Prints a line for each number of processes, and one for the death."""
    from inference_service.client import InferenceClient
    from service_kit.store.artifact_store import ArtifactStore
    from tests.support.digits import convert_and_prove, digits_spec, expected

    store = ArtifactStore(f"{folder}/models")
    store.create()
    done = convert_and_prove(digits_spec(cards=1), folder)
    store.publish("digits", done, folder / done.graph.file_name)
    images, wanted = expected()["images"], expected()["probs_ema"]
    base = 0.0
    for replicas in REPLICAS:
        with contextlib.ExitStack() as stack:
            running = [
                stack.enter_context(server("--store", store.url, "--devices", "cpu:1"))
                for _ in range(replicas)
            ]
            addresses = [address for address, _ in running]
            for address in addresses:
                with InferenceClient(address) as client:
                    client.wait_until_ready("digits", timeout=120)
            target = f"ipv4:{','.join(addresses)}"
            load = Load(target, images, wanted)
            time.sleep(seconds)
            load.end()
            rate = load.answered / seconds
            base = base or rate
            shares = [answered_by(address) / load.answered for address in addresses]
            print(
                f"{replicas} processes: {rate:7.0f} images/s, {rate / base:.2f} times one; shares "
                f"{', '.join(f'{share:.2f}' for share in shares)}; {load.failed} failed, "
                f"{load.wrong} wrong",
                flush=True,
            )
            if replicas == REPLICAS[-1]:
                load = Load(target, images, wanted)
                time.sleep(seconds / 3)
                os.kill(running[-1][1], signal.SIGKILL)
                before = load.answered
                time.sleep(seconds * 2 / 3)
                load.end()
                print(
                    f"one of {replicas} killed after {before} answers: {load.answered} in all, "
                    f"{load.failed} failed, {load.wrong} wrong",
                    flush=True,
                )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        run(Path(scratch), float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
