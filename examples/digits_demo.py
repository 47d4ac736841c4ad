"""The whole job on one page: convert by RPC, hot-load, stream, swap. Run by `make demo`.

Starts both services on free loopback ports with a temporary store, converts a training
checkpoint of TensorFlow 1.15 into a two-card artifact, streams 297 held-out images, and then,
with the same stream still open, publishes version 2 (moving averages off) and watches the
answers change. Exits with 0 only if every number is as TensorFlow 1.15 had it.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from exporter_service.client import ExporterClient
from exporter_service.specs.conversion import ConversionRequest, TowerOptions
from inference_service.client import InferenceClient
from inference_service.client.results import StreamAnswer
from service_kit.artifacts.manifest import (
    ArchitectureSpec,
    Manifest,
    MovingAverageMode,
    Preprocessing,
)

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden" / "digits"
MODEL = "digits"
CARDS = 2
# What TensorFlow 1.15 reached on the held-out images with the same two sets of weights.
ACCURACY = {1: "0.98990", 2: "0.94613"}
LARGEST_DIFFERENCE = 1e-5
# The longest that any one step may take.
SWAP_SECONDS = 60.0

Array = np.ndarray[Any, Any]
console = Console()


@contextlib.contextmanager
def running(package: str, *options: str, log: Path) -> Iterator[str]:
    """Runs a service until the block ends; yields the address that it listens on."""
    command = [sys.executable, "-m", package, "serve", "--listen", "127.0.0.1:0", *options]
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "listening on" not in line:
            raise RuntimeError(f"{package} did not start:\n{log.read_text()}")
        yield line.split()[-1]
    finally:
        process.terminate()
        process.wait()


def request(moving_average: MovingAverageMode) -> ConversionRequest:
    """Returns the conversion of the golden checkpoint, as its training script built it."""
    return ConversionRequest(
        model=MODEL,
        checkpoint="ckpt_ema",
        architecture=ArchitectureSpec(
            "densenet",
            {
                "scope": "densenet_digits",
                "growth_rate": 8,
                "initial_filters": 16,
                "layers": [3, 4, 3],
                "reduction": 0.5,
                "classes": 10,
            },
        ),
        towers=TowerOptions(image_size=(32, 32), cards=CARDS),
        moving_average=moving_average,
        preprocessing=Preprocessing(mean=(177.26, 109.55, 168.66)),
    )


def convert(address: str, moving_average: MovingAverageMode) -> Manifest:
    """Converts over RPC and returns the published manifest."""
    with ExporterClient(address) as exporter:
        *_, manifest = exporter.convert(request(moving_average))
    assert isinstance(manifest, Manifest)
    return manifest


class OpenStream:
    """One `StreamPredict` call that stays open while images are asked for in rounds."""

    def __init__(self, client: InferenceClient, images: Array) -> None:
        """Opens the stream; `images` are uint8 [images, height, width, 3]."""
        self._images = images
        self._asked: queue.Queue[int | None] = queue.Queue()
        self._answers: queue.Queue[StreamAnswer | BaseException] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(client,), daemon=True)
        self._reader.start()

    def _groups(self) -> Iterator[Array]:
        while (image := self._asked.get()) is not None:
            yield self._images[image : image + 1]

    def _read(self, client: InferenceClient) -> None:
        try:
            for answer in client.stream(MODEL, self._groups()):
                self._answers.put(answer)
        except Exception as error:
            self._answers.put(error)

    def ask_all(self) -> list[StreamAnswer]:
        """Asks for every image once and returns the answers in the order of the images."""
        for image in range(len(self._images)):
            self._asked.put(image)
        answers = []
        for _ in range(len(self._images)):
            answer = self._answers.get(timeout=SWAP_SECONDS)
            if isinstance(answer, BaseException):
                raise answer
            answers.append(answer)
        return sorted(answers, key=lambda answer: answer.index)

    def close(self) -> None:
        """Ends the sending side and waits for the server to end the call."""
        self._asked.put(None)
        self._reader.join(timeout=SWAP_SECONDS)


@dataclass(frozen=True)
class Round:
    """What 297 answers amount to."""

    versions: tuple[int, ...]
    by_card: tuple[int, ...]
    accuracy: float
    largest_difference: float
    failed: int


def judged(answers: Sequence[StreamAnswer], golden: Any) -> Round:
    """Compares each answer with what TensorFlow 1.15 gave for the version that answered."""
    expected = {1: golden["probs_ema"], 2: golden["probs_raw"]}
    correct, difference, failed = 0, 0.0, 0
    cards, versions = [0] * CARDS, set()
    for image, answer in enumerate(answers):
        if answer.prediction is None:
            failed += 1
            continue
        probs = answer.prediction.outputs["probs"][0]
        cards[answer.prediction.card] += 1
        versions.add(answer.prediction.version)
        correct += int(probs.argmax() == golden["labels"][image])
        reference = expected[answer.prediction.version][image]
        difference = max(difference, float(np.abs(probs - reference).max()))
    return Round(tuple(sorted(versions)), tuple(cards), correct / len(answers), difference, failed)


def play(folder: Path) -> bool:
    """Plays all acts; returns whether everything held."""
    golden = np.load(GOLDEN / "expected.npz")
    store = str(folder / "models")
    with (
        running(
            "exporter_service",
            *("--store", store, "--checkpoint-root", str(GOLDEN)),
            log=folder / "exporter.log",
        ) as exporter,
        running(
            "inference_service",
            *("--store", store, "--metrics-listen", "127.0.0.1:0"),
            log=folder / "inference.log",
        ) as inference,
        InferenceClient(inference) as client,
        ThreadPoolExecutor(1) as background,
    ):
        console.print(f"exporter on {exporter}, inference service on {inference}")
        first = convert(exporter, MovingAverageMode.AUTO)
        console.print(
            f"converted step {first.checkpoint.global_step} into version {first.version}: "
            f"{len(first.towers)} cards, {first.graph.node_count} nodes, "
            f"{first.moving_average.from_shadow} variables from their moving average"
        )
        client.wait_until_ready(MODEL)
        stream = OpenStream(client, golden["images"])
        before = judged(stream.ask_all(), golden)
        console.print("streamed the held-out images; converting version 2 under the open stream")

        conversion = background.submit(convert, exporter, MovingAverageMode.OFF)
        ends = time.monotonic() + SWAP_SECONDS
        during: list[Round] = []
        while not during or during[-1].versions != (2,):
            if time.monotonic() > ends:
                raise TimeoutError(f"version 2 was not served within {SWAP_SECONDS:g} s")
            if conversion.done():
                conversion.result()
            during.append(judged(stream.ask_all(), golden))
        after = judged(stream.ask_all(), golden)
        stream.close()
    return report(before, during, after)


def report(before: Round, during: Sequence[Round], after: Round) -> bool:
    """Prints the table and returns whether everything held."""
    table = Table("", "version", "accuracy", "card 0", "card 1", "to TensorFlow 1.15", "failed")
    swap = Round(
        versions=tuple(sorted({version for r in during for version in r.versions})),
        by_card=tuple(sum(r.by_card[card] for r in during) for card in range(CARDS)),
        accuracy=float("nan"),
        largest_difference=max(r.largest_difference for r in during),
        failed=sum(r.failed for r in during),
    )
    for name, r in (("before", before), ("during the swap", swap), ("after", after)):
        table.add_row(
            name,
            " and ".join(map(str, r.versions)),
            "" if np.isnan(r.accuracy) else f"{r.accuracy:.5f}",
            *map(str, r.by_card),
            f"{r.largest_difference:.1e}",
            str(r.failed),
        )
    console.print(table)
    held = {
        f"accuracy of version 1 is {ACCURACY[1]}": f"{before.accuracy:.5f}" == ACCURACY[1],
        f"accuracy of version 2 is {ACCURACY[2]}": f"{after.accuracy:.5f}" == ACCURACY[2],
        "each version answered alone": (before.versions, after.versions) == ((1,), (2,)),
        "both cards answered": all(min(r.by_card) > 0 for r in (before, swap, after)),
        f"every answer is within {LARGEST_DIFFERENCE:g} of TensorFlow 1.15": all(
            r.largest_difference < LARGEST_DIFFERENCE for r in (before, swap, after)
        ),
        "no request failed": not any(r.failed for r in (before, swap, after)),
    }
    for what, is_so in held.items():
        console.print(f"[green]yes[/] {what}" if is_so else f"[bold red]NO[/]  {what}")
    return all(held.values())


def main() -> int:
    """Returns the exit code."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pbserve-demo-") as folder:
        try:
            held = play(Path(folder))
        except Exception:
            for log in Path(folder).glob("*.log"):
                console.print(f"--- {log.name}\n{log.read_text()[-4000:]}", markup=False)
            raise
    console.print(f"took {time.monotonic() - began:.0f} s")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
