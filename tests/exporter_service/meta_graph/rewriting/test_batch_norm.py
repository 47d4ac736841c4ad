"""Batch norms whose statistics an op of somebody's library has gone over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

from service_kit import errors
from tests.support import training_graphs as zoo
from tests.support.meta_graph_conversions import check, converted
from tests.support.training_graphs import Saved, save

ROWS = np.random.default_rng(3).uniform(-1, 1, (4, 6)).astype(np.float32)


def normalised(hidden: Any, *, training: bool) -> Any:
    gamma, beta, moving_mean, moving_variance = zoo.statistics(5)
    mean, variance = moving_mean, moving_variance
    if training:
        mean = tf.identity(tf.reduce_mean(hidden, [0]), name="reduce_a")
        square = tf.identity(tf.reduce_mean(tf.square(hidden), [0]), name="reduce_b")
        variance = square - tf.square(mean)
        for moving, value in ((moving_mean, mean), (moving_variance, variance)):
            tf.assign_sub(moving, (moving - value) * 0.1, name="follow")
    return tf.nn.batch_normalization(hidden, mean, variance, beta, gamma, 1e-3)


def probs(x: Any, *, training: bool) -> Any:
    hidden = normalised(zoo.dense(x, 5, "first"), training=training)
    return tf.nn.softmax(zoo.dense(tf.nn.relu(hidden), 3, "out"), name="probs")


def saved_with(folder: Path, op: str, *, follows: bool) -> Saved:
    saved = save(
        folder,
        lambda: probs(tf.placeholder(tf.float32, [None, 6], name="x"), training=True),
        lambda: {
            "probs": probs(tf.placeholder(tf.float32, [None, 6], name="input"), training=False)
        },
        {"input": ROWS},
    )
    path = Path(f"{saved.prefix}.meta")
    meta = MetaGraphDef.FromString(path.read_bytes())
    for node in list(meta.graph_def.node):
        if node.name in {"reduce_a", "reduce_b"}:
            node.op = op
        if not follows and node.name.startswith("follow"):
            meta.graph_def.node.remove(node)
    path.write_bytes(meta.SerializeToString())
    return saved


@pytest.mark.parametrize("op", ["SomebodysAllreduce", "Identity"])
def test_moving_statistics_take_the_place_of_an_all_reduce(tmp_path: Path, op: str) -> None:
    saved = saved_with(tmp_path, op, follows=True)
    check(saved, tmp_path / "out", {"input": ROWS}, outputs=["probs"])


def test_an_op_that_stays_is_named_before_what_follows_from_it(tmp_path: Path) -> None:
    saved = saved_with(tmp_path, "SomebodysAllreduce", follows=False)
    with pytest.raises(errors.Unconvertible, match=r"^choose .* reduce_a \(SomebodysAllreduce\)"):
        converted(saved.prefix, tmp_path / "out", outputs=["probs"])
