"""The example package, installed as a user would, in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import sys
from pathlib import Path

from exporter_service.architectures.registry import check_spec, find_architecture
from service_kit.artifacts.manifest import ArchitectureSpec

SPEC = ArchitectureSpec("tiny", {"classes": 4, "width": 6, "blocks": [1, 3]})
assert check_spec(SPEC) is None
assert "tensorflow" not in sys.modules and "tiny_net" not in sys.modules

import numpy as np
import tensorflow.compat.v1 as tf

folder = Path(sys.argv[1])
random = np.random.default_rng(0)
images = random.uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
embedding = find_architecture("example/tiny-embedding")
with tf.Graph().as_default():
    shaped = tf.placeholder(tf.float32, [None, 32, 32, 3])
    outputs = embedding.build(shaped, embedding.parse({"width": 6}))
    assert {name: one.shape.as_list() for name, one in outputs.items()} == {
        "probs": [None, 10], "embedding": [None, 24],
    }

tiny = find_architecture("tiny")
parameters = tiny.parse(SPEC.parameters)
variables = tiny.variables(parameters, (32, 32))
assert variables["tiny/block2/weights"].shape == (3, 3, 6, 18)
assert not variables["tiny/block2/BatchNorm/moving_mean"].trainable

import tiny_net

with tf.Graph().as_default(), tf.Session() as session:
    logits = tiny_net.tiny(tf.constant(images), classes=4, width=6, blocks=(1, 3))
    session.run(tf.global_variables_initializer())
    tf.train.Saver().save(session, str(folder / "model.ckpt"), 7)
    expected = session.run(logits)

with tf.Graph().as_default(), tf.Session() as session:
    cards = []
    for card in ("Card_0", "Card_1"):
        with tf.name_scope(card):
            cards.append(tiny.build(tf.constant(images), parameters))
    assert {variable.op.name for variable in tf.global_variables()} == variables.keys()
    tf.train.Saver().restore(session, str(folder / "model.ckpt-7"))
    for answer in session.run(cards):
        np.testing.assert_allclose(answer, expected, atol=1e-6)
print("built")
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the example installed in it."""
    # The build leaves files beside its source.
    source = shutil.copytree(ROOT / "examples" / "plugin", tmp_path / "source")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(tmp_path / "site")]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return tmp_path / "site"


def test_the_example_is_found_traced_and_built(site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder],
        env=os.environ | {"PYTHONPATH": str(site), "TF_CPP_MIN_LOG_LEVEL": "2"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout == "built\n"
