"""Inputs that leave the number of their features open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.detection.features import with_known_features
from exporter_service.meta_graph.detection.feeds import described
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port


def variable(*shape: int) -> Any:
    return tf.get_variable("w", shape)


@pytest.mark.parametrize(
    ("build", "stated", "wanted"),
    [
        (lambda x: tf.matmul(x, variable(5, 2)), [None, None], (-1, 5)),
        (lambda x: tf.matmul(x, variable(2, 5), transpose_b=True), [None, None], (-1, 5)),
        (lambda x: tf.matmul(tf.identity(x), variable(5, 2)), [None, None], (-1, 5)),
        (
            lambda x: tf.nn.conv2d(x, variable(3, 3, 4, 2), 1, "SAME"),
            [None, 8, 8, None],
            (-1, 8, 8, 4),
        ),
        # Something else might take any number of them.
        (lambda x: tf.matmul(x, variable(5, 2)) + tf.reduce_sum(x), [None, None], (-1, -1)),
        (lambda x: tf.matmul(x, tf.transpose(x)), [None, None], (-1, -1)),
        (lambda x: x * 2, [None, None], (-1, -1)),
        (lambda x: x * 2, [None], (-1,)),
    ],
)
def test_open_features_are_those_of_the_weights(
    build: Callable[[Any], Any], stated: list[int | None], wanted: tuple[int, ...]
) -> None:
    with tf.Graph().as_default() as graph:
        build(tf.placeholder(tf.float32, stated, name="x"))
    nodes = NodeGraph(graph.as_graph_def())
    assert with_known_features(nodes, described(nodes, Port("x"))).shape == wanted
