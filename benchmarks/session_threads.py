"""How should the cards of one artifact share the cores?

Compares thread settings of the TensorFlow session with DenseNet-169 (random weights, 256x256, two
cards) on this machine: images per second of one caller and of two, one a card, as ratios to
TensorFlow's own defaults. Every setting runs in a process of its own, because TensorFlow sizes some
pools once a process; rounds are interleaved and the median is taken.

    python benchmarks/session_threads.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from densenet169 import convert_random

ROUNDS = 3
CALLERS = (1, 2)
IMAGES = 8
SIDE = 256
# Name -> intra-op threads, inter-op threads (0 is TensorFlow's own choice), and whether ops run on
# the thread that calls.
SETTINGS = {
    "TensorFlow's defaults": (0, 0, 0),
    "all cores inside ops, on the caller's thread": (0, 2, 1),
    "the engine's: one intra-op thread, on the caller's": (1, 2, 1),
    "one intra-op thread, on a pool": (1, 2, 0),
}


def measure(graph: Path, intra: int, inter: int, in_place: int, callers: int) -> float:
    """Returns images per second of so many callers that send single images."""
    os.environ["TF_OVERRIDE_GLOBAL_THREADPOOL"] = "1"
    import numpy as np
    import tensorflow.compat.v1 as tf
    from tensorflow.core.protobuf import config_pb2

    with tf.Graph().as_default() as imported:
        tf.import_graph_def(tf.GraphDef.FromString(graph.read_bytes()), name="")
    config = tf.ConfigProto(
        allow_soft_placement=True,
        intra_op_parallelism_threads=intra,
        inter_op_parallelism_threads=inter,
        use_per_session_threads=inter > 0,
    )
    session = tf.Session(graph=imported, config=config)
    images = np.random.default_rng(0).uniform(0, 255, (1, SIDE, SIDE, 3)).astype(np.float32)
    calls = []
    for card in range(callers):
        options = config_pb2.CallableOptions(
            feed=[f"Card_{card}/input:0"], fetch=[f"Card_{card}/probs:0"]
        )
        if in_place:
            options.run_options.inter_op_thread_pool = -1
        calls.append(session._make_callable_from_options(options))  # noqa: SLF001 - as the engine

    def work(card: int) -> None:
        for _ in range(IMAGES):
            calls[card](images)

    for call in calls:
        call(images)
    threads = [threading.Thread(target=work, args=(card,)) for card in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return callers * IMAGES / (time.perf_counter() - began)


def main() -> None:
    """Prints the table."""
    cases = [(name, callers) for callers in CALLERS for name in SETTINGS]
    rates: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        graph = str(convert_random(Path(folder), 2).path)
        for _ in range(ROUNDS):
            for name, callers in cases:
                numbers = [str(number) for number in (*SETTINGS[name], callers)]
                command = [sys.executable, __file__, graph, *numbers]
                output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                rates[name, callers].append(float(output.split()[-1]))
    for name, callers in cases:
        rate = statistics.median(rates[name, callers])
        base = statistics.median(rates["TensorFlow's defaults", callers])
        print(f"{callers} callers  {name:52} {rate:6.2f} images/s  {rate / base:.2f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(measure(Path(sys.argv[1]), *map(int, sys.argv[2:])))
    else:
        main()
