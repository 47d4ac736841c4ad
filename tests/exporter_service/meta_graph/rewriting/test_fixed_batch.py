"""Graphs that were made for one size of batch, converted and run with others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.support import training_graphs as zoo
from tests.support.meta_graph_conversions import check
from tests.support.training_graphs import save

BATCH = 7
ROWS = np.random.default_rng(3).uniform(0, 1, (5, 4, 6)).astype(np.float32)
# Of the output of a net, the shape that a layer brings it into.
Flatten = Callable[[Any, list[int]], Any]


def constant(value: Any) -> Any:
    return tf.constant(value, tf.int32)


def by_slice(net: Any, shape: list[int]) -> Any:
    """Flattens as the layers of TensorFlow 1 do where Python knows the shape."""
    size = tf.strided_slice(constant(shape), [0], [1], shrink_axis_mask=1)
    return tf.reshape(net, tf.stack([size, 24]))


def by_product(net: Any, shape: list[int]) -> Any:
    """Flattens as feature columns do."""
    rest = tf.reduce_prod(tf.slice(constant(shape), [1], [2]))
    return tf.reshape(net, tf.stack([tf.gather(constant(shape), 0), rest]))


def by_the_rest(net: Any, shape: list[int]) -> Any:
    return tf.reshape(net, [shape[0], 24 if shape[0] < 0 else -1])


@pytest.mark.parametrize("flatten", [by_slice, by_product, by_the_rest])
def test_a_flattening_of_constants_follows_the_batch(flatten: Flatten, tmp_path: Path) -> None:
    def net(x: Any) -> Any:
        flat = flatten(x, [x.shape[0] or -1, 4, 6])
        flat.set_shape([x.shape[0], 24])
        return zoo.dense(flat, 3, "out")

    converts(tmp_path, net)


def test_steps_of_a_sequence_are_rows_for_a_layer(tmp_path: Path) -> None:
    def net(x: Any) -> Any:
        batch = x.shape[0]
        steps = zoo.dense(tf.reshape(x, _sizes(batch, 4, 6)), 5, "step")
        return tf.reduce_mean(tf.reshape(steps, [batch or -1, 4, 5]), 1)

    converts(tmp_path, net)


def test_the_batch_may_lie_behind_the_steps(tmp_path: Path) -> None:
    def net(x: Any) -> Any:
        batch = x.shape[0]
        rows = tf.reshape(tf.transpose(x, [1, 0, 2]), _sizes(batch, 4, 6))
        steps = tf.reshape(zoo.dense(rows, 5, "step"), [4, batch or -1, 5])
        return tf.reduce_mean(steps, 0)

    converts(tmp_path, net)


def test_a_learned_row_is_repeated_for_each_image(tmp_path: Path) -> None:
    def net(x: Any) -> Any:
        batch = x.shape[0] or tf.shape(x)[0]
        first = tf.tile(zoo.variable("first", [1, 1, 6]), [batch, 1, 1])
        rows = tf.concat([first, x], 1)
        return zoo.dense(tf.reduce_max(rows, 1), 3, "out")

    converts(tmp_path, net)


def _sizes(batch: Any, steps: int, features: int) -> list[int]:
    return [batch * steps if batch else -1, features]


def converts(folder: Path, net: Callable[[Any], Any]) -> None:
    """Saves a net made for one batch, converts it, and compares it with the net for any."""

    def train() -> None:
        probs = tf.nn.softmax(net(tf.placeholder(tf.float32, [BATCH, 4, 6], name="x")), name="y")
        tf.identity(probs, name="probs")

    def infer() -> Any:
        return {"probs": tf.nn.softmax(net(tf.placeholder(tf.float32, [None, 4, 6], name="input")))}

    saved = save(folder, train, infer, {"input": ROWS})
    check(saved, folder / "out", {"input": ROWS}, outputs=["probs"])
