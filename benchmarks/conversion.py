"""How long does a large conversion take, step by step, and how much memory does it need?

Writes a training checkpoint of DenseNet-169 (2 classes, random values, with Adam's slots and
moving averages: 200 MB), starts an exporter, waits until its spare worker is warm, and converts
for 256x256 images and two cards. Prints seconds a step and the peak memory of each process: the
one that converts and the fresh one that proves the result.

    python benchmarks/conversion.py [--rounds 3] [--spare-workers 1]
"""

from __future__ import annotations

import argparse
import contextlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from exporter_service.client import ExporterClient
from exporter_service.specs.conversion import ConversionRequest, TowerOptions
from service_kit.artifacts.manifest import (
    ArchitectureSpec,
    Manifest,
    MovingAverageMode,
    Preprocessing,
)

SLOTS = ("/Adam", "/Adam_1", "/ExponentialMovingAverage")
WARM = "conversion_process_warm"
ENDED = re.compile(r"conversion_process_ended .*entry=(\S+) .*peak_bytes=(\d+)")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@contextlib.contextmanager
def exporter(folder: Path, spares: int) -> Iterator[tuple[str, Path]]:
    """Runs an exporter over `folder` on a free port; yields its address and its log."""
    log = folder / "log"
    command = [
        sys.executable, "-m", "exporter_service", "serve", "--listen", "127.0.0.1:0",
        "--store", str(folder / "models"), "--checkpoint-root", str(folder),
        "--spare-workers", str(spares),
    ]  # fmt: skip
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[-1], log
    finally:
        process.terminate()
        process.wait(60)


def text_of(log: Path) -> str:
    """Returns the log without colours."""
    return COLOURS.sub("", log.read_text())


def converted(address: str) -> tuple[dict[str, float], Manifest]:
    """Returns the seconds that each step took, and what was published."""
    request = ConversionRequest(
        model="densenet169",
        checkpoint="run",
        architecture=ArchitectureSpec("densenet169", {"classes": 2}),
        towers=TowerOptions(cards=2, image_size=(256, 256)),
        moving_average=MovingAverageMode.REQUIRED,
        preprocessing=Preprocessing(mean=(177.26, 109.55, 168.66)),
    )
    began: dict[str, float] = {}
    start = time.monotonic()
    with ExporterClient(address) as client:
        for event in client.convert(request):
            if isinstance(event, Manifest):
                manifest = event
            else:
                began[event.step.name] = time.monotonic() - start
    marks = [*began.values(), time.monotonic() - start]
    steps = {
        name: after - before for name, before, after in zip(began, marks, marks[1:], strict=False)
    }
    return {**steps, "total": marks[-1]}, manifest


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spare-workers", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run").mkdir()
        writer = (
            "import sys; from pathlib import Path; "
            "from tests.support.random_checkpoint import write_random_checkpoint; "
            f"write_random_checkpoint(Path({str(folder / 'run')!r}), 'densenet169', {SLOTS!r})"
        )
        subprocess.run([sys.executable, "-c", writer], check=True)
        size = sum(path.stat().st_size for path in (folder / "run").iterdir())
        rounds: list[dict[str, float]] = []
        with exporter(folder, options.spare_workers) as (address, log):
            for number in range(options.rounds):
                # Each conversion takes two processes, and each that is taken is replaced.
                wanted = options.spare_workers + 2 * number * bool(options.spare_workers)
                while text_of(log).count(WARM) < wanted:
                    time.sleep(0.2)
                steps, manifest = converted(address)
                rounds.append(steps)
            peaks = ENDED.findall(text_of(log))
    print(f"checkpoint {size / 1e6:.0f} MB, graph {manifest.graph.size_bytes / 1e6:.2f} MB with "
          f"{manifest.graph.node_count} nodes, {options.rounds} rounds, "
          f"{options.spare_workers} spare worker(s)")  # fmt: skip
    print(f"{'step':<10}{'median s':>10}{'worst s':>10}")
    for step in rounds[0]:
        seconds = [one[step] for one in rounds]
        print(f"{step:<10}{statistics.median(seconds):>10.2f}{max(seconds):>10.2f}")
    for entry in dict.fromkeys(entry for entry, _ in peaks):
        peak = max(int(size) for other, size in peaks if other == entry)
        print(f"peak of {entry}: {peak / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
