"""How should the cards of one artifact share the cores?

Compares thread settings of the TensorFlow session with DenseNet-169 (random weights, 256x256, two
cards) on this machine: images per second of two callers, one a card, as ratios to TensorFlow's own
defaults. Every setting runs in a process of its own, because TensorFlow sizes some pools once a
process; rounds are interleaved and the median is taken.

    python benchmarks/session_threads.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROUNDS = 3
BATCH_SIZES = (1, 4, 8)
IMAGES = 8
SIDE = 256
# Name -> (intra-op threads, inter-op threads); 0 is TensorFlow's own choice.
SETTINGS = {
    "TensorFlow's defaults": (0, 0),
    "the engine's: its own inter-op pool": (0, 2),
    "one intra-op thread": (1, 2),
    "one thread for everything": (1, 1),
}


def write_graph(folder: Path) -> None:
    """Converts a random checkpoint into a two-card graph."""
    from exporter_service.checkpoint_roots import CheckpointRoots
    from exporter_service.conversion import convert
    from exporter_service.conversion_order import ConversionOrder, TowerOptions
    from service_kit.manifest import MovingAverageMode
    from tests.support.random_checkpoint import write_random_checkpoint

    architecture = write_random_checkpoint(folder, "densenet169")
    location = CheckpointRoots([folder]).locate(".")
    order = ConversionOrder(
        checkpoint=location,
        architecture=architecture,
        towers=TowerOptions(cards=2, image_size=(SIDE, SIDE)),
        moving_average=MovingAverageMode.OFF,
    )
    convert(order, folder, lambda _: None)


def measure(graph: Path, intra: int, inter: int, batch_size: int) -> float:
    """Returns images per second of two callers that send batches of one size."""
    import numpy as np
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default() as imported:
        tf.import_graph_def(tf.GraphDef.FromString(graph.read_bytes()), name="")
    batches = IMAGES // batch_size + 1
    config = tf.ConfigProto(
        allow_soft_placement=True,
        intra_op_parallelism_threads=intra,
        inter_op_parallelism_threads=inter,
        use_per_session_threads=inter > 0,
    )
    session = tf.Session(graph=imported, config=config)
    images = (
        np.random.default_rng(0).uniform(0, 255, (batch_size, SIDE, SIDE, 3)).astype(np.float32)
    )
    calls = [
        session.make_callable(f"Card_{card}/probs:0", [f"Card_{card}/input:0"]) for card in (0, 1)
    ]

    def work(card: int) -> None:
        for _ in range(batches):
            calls[card](images)

    for call in calls:
        call(images)
    threads = [threading.Thread(target=work, args=(card,)) for card in (0, 1)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 2 * batches * batch_size / (time.perf_counter() - began)


def main() -> None:
    """Prints the table."""
    cases = [(name, size) for size in BATCH_SIZES for name in SETTINGS]
    rates: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        write_graph(Path(folder))
        graph = str(Path(folder) / "multi_frozen_model.pb")
        for _ in range(ROUNDS):
            for name, size in cases:
                numbers = [str(number) for number in (*SETTINGS[name], size)]
                command = [sys.executable, __file__, graph, *numbers]
                output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                rates[name, size].append(float(output.split()[-1]))
    for name, size in cases:
        rate = statistics.median(rates[name, size])
        base = statistics.median(rates["TensorFlow's defaults", size])
        print(f"batches of {size}  {name:45} {rate:6.2f} images/s  {rate / base:.2f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(measure(Path(sys.argv[1]), *map(int, sys.argv[2:])))
    else:
        main()
