"""Of what a server can do, how much is answered in time when more is asked of it?

Requests come as they come, at 1.3, 2 and 5 times what the server can do, with deadlines of 3 batch
times, 1 s and 5 s; the load runs in a process of its own, on one thread. What the server can do is
measured before and after, by callers who wait for their answers. Serves an engine that sleeps, the
golden digits in requests of several images (one image costs gRPC more than the net), and, if asked
for, a DenseNet-169 with random weights.

    python benchmarks/goodput.py [seconds of each measurement] [sleep] [digits] [densenet169]
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from densenet169 import ROOT, SIDE, convert_random, server

if TYPE_CHECKING:
    from inference_service.client import AsyncInferenceClient
    from inference_service.engine import EngineCard

FACTORS = (1.3, 2.0, 5.0)
BATCH_TIMES, DEADLINES = 3, (1.0, 5.0)
# What the engine sleeps for a batch, and for each image in it; and the images of a batch.
BATCH_SECONDS, IMAGE_SECONDS, BATCH = 0.1, 0.0125, 8
# Requests under way at most: what is due beyond them is not sent, and is said.
MAX_UNDER_WAY = 4000


class Load:
    """Asks one model for predictions of the same images."""

    def __init__(self, client: AsyncInferenceClient, model: str, images: np.ndarray) -> None:
        self._client, self._model, self._images = client, model, images

    async def capacity(self, seconds: float, callers: int) -> float:
        """Returns the requests a second of callers who wait for their answers."""
        begins = time.monotonic() + 1.0
        answered = 0

        async def call() -> None:
            nonlocal answered
            while time.monotonic() < begins + seconds:
                await self._client.predict(self._model, self._images)
                answered += begins <= time.monotonic() < begins + seconds

        await asyncio.gather(*(call() for _ in range(callers)))
        return answered / seconds

    async def busy(self) -> float:
        """Returns the seconds that the cards have run."""
        cards = (await self._client.model(self._model)).versions[0].cards
        return sum(card.status().counts.runs.busy_seconds for card in cards)

    async def goodput(
        self, rate: float, deadline: float, seconds: float
    ) -> tuple[float, Counter[str]]:
        """Returns requests a second that were answered in time, and what became of the others.

        Counts what comes after the queue has had the time of a deadline to fill.
        """
        from service_kit import errors

        begins = time.monotonic() + max(1.0, deadline)
        ends, found = begins + seconds, Counter[str]()
        under_way: set[asyncio.Task[None]] = set()

        async def call() -> None:
            try:
                await self._client.predict(self._model, self._images, timeout=deadline)
                kind = "OK"
            except errors.PbserveError as error:
                kind = error.reason
            found[kind] += begins <= time.monotonic() < ends

        due = time.monotonic()
        while due < ends:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if len(under_way) < MAX_UNDER_WAY:
                task = asyncio.create_task(call())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            else:
                found["NOT_SENT"] += 1
            due += 1 / rate
        await asyncio.gather(*under_way)
        return found.pop("OK", 0) / seconds, found


async def measure(address: str, model: str, images: np.ndarray, seconds: float) -> None:
    """Prints a line for each deadline and factor."""
    from inference_service.client import AsyncInferenceClient
    from service_kit.client.retry import RetryPolicy

    async with AsyncInferenceClient(address, retry=RetryPolicy(attempts=1)) as client:
        await client.wait_until_ready(model, timeout=120)
        cards = (await client.model(model)).versions[0].cards
        batch = sum(card.max_batch_size for card in cards)
        load = Load(client, model, images)
        callers = max(4, 4 * batch // len(images))
        capacity = await load.capacity(seconds, callers)
        # A request of more images than a batch takes several.
        batch_time = max(batch / len(images), 1.0) / capacity
        print(f"{model}: {capacity:.1f} requests/s, a batch in {batch_time * 1e3:.0f} ms")
        for deadline in (BATCH_TIMES * batch_time, *DEADLINES):
            for factor in FACTORS:
                busy, began = await load.busy(), time.monotonic()
                rate, others = await load.goodput(factor * capacity, deadline, seconds)
                busy = (await load.busy() - busy) / (time.monotonic() - began) / len(cards)
                # The machine may have become slower or faster: both sides count.
                before, capacity = capacity, await load.capacity(seconds / 2, callers)
                print(
                    f"  {factor:g} times, deadline {deadline:.2f} s: "
                    f"{2 * rate / (before + capacity):.2f} of it in time, cards busy {busy:.0%}; "
                    f"{', '.join(f'{n} {kind}' for kind, n in sorted(others.items()))}",
                    flush=True,
                )


def serve_sleeping(folder: Path) -> None:
    """Serves an engine that sleeps until standard input ends; prints the address."""
    from inference_service.loading.rules import ModelDefaults
    from service_kit.store.artifact_store import ArtifactStore
    from tests.support.engines import MeanEngines, SleepingEngine
    from tests.support.inference_server import inference_server

    def make(graph: bytes, cards: Sequence[EngineCard]) -> SleepingEngine:
        return SleepingEngine(graph, cards, batch=BATCH_SECONDS, image=IMAGE_SECONDS)

    store = ArtifactStore(str(folder))
    store.create()
    limits, engines = ModelDefaults(max_batch_size=BATCH), MeanEngines(make=make)
    # What it logs must not be taken for its address.
    asked, sys.stdout = sys.stdout, sys.stderr
    with inference_server(store, folder, defaults=limits, engines=engines) as running:
        running.publish(cards=1, model="sleep")
        print(running.address, file=asked, flush=True)
        sys.stdin.read()


@contextlib.contextmanager
def sleeping_server(folder: Path) -> Iterator[str]:
    """Runs it in a process of its own; yields the address."""
    with subprocess.Popen(
        [sys.executable, __file__, "serve-sleeping", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


def run(folder: Path, seconds: float, models: list[str]) -> None:
    """Measures the models, one after the other."""
    from service_kit.store.artifact_store import ArtifactStore
    from tests.support.digits import convert_and_prove, digits_spec, expected

    if "sleep" in models:
        (folder / "sleep").mkdir()
        with sleeping_server(folder / "sleep") as address:
            asyncio.run(measure(address, "sleep", np.zeros((1, 2, 2, 3), np.float32), seconds))
    store = ArtifactStore(f"{folder}/models")
    store.create()
    # Without contention between cards, and with a core for gRPC and the load.
    options = ("--store", store.url, "--devices", "cpu:1")
    if "digits" in models:
        done = convert_and_prove(digits_spec(cards=1), folder)
        store.publish("digits", done, folder / done.graph.file_name)
        with server(*options) as (address, _):
            images = np.resize(expected()["images"], (32, 32, 32, 3)).astype(np.uint8)
            asyncio.run(measure(address, "digits", images, seconds))
    if "densenet169" in models:
        graph = convert_random(folder, 1)
        store.publish("densenet169", graph.conversion, graph.path)
        with server(*options) as (address, _):
            images = np.zeros((1, SIDE, SIDE, 3), np.uint8)
            asyncio.run(measure(address, "densenet169", images, seconds))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve-sleeping"]:
        serve_sleeping(Path(sys.argv[2]))
    else:
        named = [name for name in sys.argv[1:] if not name[0].isdigit()]
        length = float(next((one for one in sys.argv[1:] if one[0].isdigit()), 8.0))
        with tempfile.TemporaryDirectory() as scratch:
            run(Path(scratch), length, named or ["sleep", "digits"])
