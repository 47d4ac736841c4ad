"""What does a card cost, and where do the bytes go?

Serves DenseNet-169 with one card and with more of them, by more towers and by more devices, and
prints the resident memory of the server after every card has answered. Below that, what plain
TensorFlow takes for the same, step by step.

    python benchmarks/memory.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from densenet169 import SIDE, convert_random, resident_megabytes, server

# Towers of the artifact, devices of the server.
CASES = [(1, "cpu:1"), (1, "cpu:2"), (1, "cpu:4"), (2, "cpu:4"), (4, "cpu:1"), (4, "cpu:4")]


def served(store: Path, devices: str) -> tuple[int, float]:
    """Returns the number of cards, and the memory of a server that has used them all."""
    import numpy as np

    from inference_service.client import InferenceClient

    image = np.random.default_rng(0).uniform(0, 255, (1, SIDE, SIDE, 3)).astype(np.float32)
    options = ("--store", str(store), "--devices", devices)
    with server(*options) as (address, pid), InferenceClient(address) as client:
        client.wait_until_ready("densenet169", timeout=300)
        cards = client.model("densenet169").versions[0].cards
        for card in cards:
            for _ in range(3):
                client.predict("densenet169", image, card=card.index)
        return len(cards), resident_megabytes(pid)


PLAIN = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import numpy as np
import tensorflow.compat.v1 as tf

def say(step):
    pages = int(open("/proc/self/statm").read().split()[1])
    print(f"{step:45} {pages * os.sysconf('SC_PAGESIZE') / 2**20:8.0f} MB")

say("TensorFlow is imported")
with tf.Graph().as_default() as graph:
    tf.import_graph_def(tf.GraphDef.FromString(open(sys.argv[1], "rb").read()), name="")
say("the graph is imported")
session = tf.Session(graph=graph)
image = np.zeros((1, 256, 256, 3), np.float32)
for card in range(4):
    call = session.make_callable(f"Card_{card}/probs:0", [f"Card_{card}/input:0"])
    call(image)
    say(f"card {card} has run once")
"""


def main() -> None:
    """Prints both tables."""
    from service_kit.store.artifact_store import ArtifactStore

    with tempfile.TemporaryDirectory() as folder:
        graphs = {}
        for towers in sorted({towers for towers, _ in CASES}):
            graphs[towers] = convert_random(Path(folder), towers)
            store = ArtifactStore(f"{folder}/store-{towers}")
            store.create()
            store.publish("densenet169", graphs[towers].conversion, graphs[towers].path)
        base = 0.0
        for towers, devices in CASES:
            cards, resident = served(Path(folder) / f"store-{towers}", devices)
            base = base or resident
            print(
                f"{towers} towers, {devices}: {cards} cards  {resident:8.0f} MB  "
                f"{resident / base:.2f} of one card"
            )
        print("plain TensorFlow, four towers:")
        command = [sys.executable, "-c", PLAIN, str(graphs[4].path)]
        print(subprocess.run(command, capture_output=True, text=True, check=True).stdout, end="")


if __name__ == "__main__":
    main()
