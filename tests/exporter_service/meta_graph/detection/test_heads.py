"""Which tensors of a training graph may be answers, in which order."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.detection.heads import find_heads, obvious_head
from exporter_service.meta_graph.reading.node_graph import NodeGraph


def heads_of(graph: Any) -> list[Any]:
    trainable = {one.op.name for one in graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES)}
    return find_heads(NodeGraph(graph.as_graph_def(add_shapes=True)), trainable)


def test_what_is_compared_with_other_data_is_the_answer_of_a_regression() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, None, None, 1], name="x")
        wanted = tf.placeholder(tf.float32, [None, None, None, 1], name="wanted")
        net = tf.nn.relu(tf.nn.conv2d(x, tf.get_variable("w", [3, 3, 1, 4]), 1, "SAME"))
        out = tf.nn.bias_add(tf.depth_to_space(net, 2), tf.get_variable("b", [1]), name="large")
        tf.summary.scalar("brightness", tf.reduce_mean(out))
        loss = tf.reduce_mean(tf.square(wanted - out))
        tf.train.AdamOptimizer().minimize(loss)
    heads = heads_of(graph)
    assert [str(head) for head in heads] == ["large:0 (compared with other data)"]
    assert obvious_head(heads) == heads[0]


def net(x: Any, labels: Any, scope: str, *, training: bool) -> None:
    with tf.name_scope(scope), tf.variable_scope("model", reuse=tf.AUTO_REUSE):
        hidden = tf.nn.relu(tf.matmul(x, tf.get_variable("w", [40, 10])))
        mean, variance = (
            tf.get_variable(name, [10], trainable=False) for name in ("mean", "variance")
        )
        if training:
            found = tf.nn.moments(hidden, [0])
            for moving, value in zip((mean, variance), found, strict=True):
                tf.assign_sub(moving, (moving - value) * 0.01)
            mean, variance = found
        hidden = tf.nn.batch_normalization(hidden, mean, variance, None, None, 1e-3)
        logits = tf.matmul(hidden, tf.get_variable("o", [10, 3]), name="logits")
        tf.losses.sparse_softmax_cross_entropy(labels, logits)


def test_a_norm_that_is_written_out_marks_its_copy_as_training_too() -> None:
    with tf.Graph().as_default() as graph:
        labels = tf.placeholder(tf.int32, [None], name="labels")
        for scope, training in (("a_train", True), ("b_eval", False)):
            x = tf.placeholder(tf.float32, [None, 40], name=f"{scope}_x")
            net(x, labels, scope, training=training)
    first, second = heads_of(graph)
    assert (first.port.node, first.trains) == ("b_eval/model/logits", False)
    assert (second.port.node, second.trains) == ("a_train/model/logits", True)
