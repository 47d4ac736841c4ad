"""Shapes that TensorFlow 1 wrote as programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.reading.node_graph import NodeGraph
from exporter_service.meta_graph.rewriting.constant_folding import fold_shapes
from tests.support import training_graphs as zoo
from tests.support.meta_graph_conversions import check
from tests.support.training_graphs import save

ROWS = np.random.default_rng(3).uniform(0, 1, (3, 2, 6)).astype(np.float32)


def tensordot(x: Any) -> Any:
    """Multiplies the last dimension as layers on sequences did until TensorFlow 1.12."""
    axes = tf.cast(tf.constant([2]) >= 0, tf.int32) * tf.constant([2])
    free = tf.raw_ops.ListDiff(x=tf.range(0, 3, 1), y=axes).out
    dims = tf.gather(tf.shape(x), free)
    flat = tf.reshape(
        tf.transpose(x, tf.concat([free, axes], 0)), tf.stack([tf.reduce_prod(dims), 6])
    )
    net = tf.reshape(tf.matmul(flat, zoo.variable("w", [6, 4])), tf.concat([dims, [4]], 0))
    net.set_shape([None, 2, 4])
    return net


def test_a_rank_that_is_computed_from_constants_is_known(tmp_path: Path) -> None:
    def train() -> None:
        tf.sigmoid(tensordot(tf.placeholder(tf.float32, [None, 2, 6], name="x")), name="probs")

    def infer() -> Any:
        x = tf.placeholder(tf.float32, [None, 2, 6], name="input")
        return {"probs": tf.sigmoid(tensordot(x))}

    saved = save(tmp_path, train, infer, {"input": ROWS})
    done = check(saved, tmp_path / "out", {"input": ROWS}, outputs=["probs"])
    assert done.towers[0].outputs[0].shape == (-1, 2, 4)


@pytest.mark.parametrize("kept", ["random", "of_input", "large", "fraction"])
def test_small_whole_numbers_of_constants_are_folded_and_nothing_else(kept: str) -> None:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 3], name="x")
        tf.raw_ops.Prod(input=tf.constant([2, 3]), axis=tf.constant(0), name="six")
        tf.random.uniform([2], maxval=3, dtype=tf.int32, name="random")
        tf.raw_ops.Size(input=x, name="of_input")
        tf.raw_ops.Fill(dims=tf.constant([2000]), value=tf.constant(7), name="large")
        tf.raw_ops.Sqrt(x=tf.constant(2.0), name="fraction")
    nodes = NodeGraph(graph.as_graph_def())
    before = nodes.nodes[kept].SerializeToString()
    assert fold_shapes(nodes) >= 1
    assert nodes.nodes["six"].op == "Const"
    assert tf.make_ndarray(nodes.nodes["six"].attr["value"].tensor) == 6
    assert nodes.nodes[kept].SerializeToString() == before
