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


ONE = np.random.default_rng(4).uniform(0, 1, (3, 8, 8, 2)).astype(np.float32)


def by_layer(x: Any) -> Any:
    """Flattens to the only row that it knows."""
    size = 1 if x.shape[0] else -1
    return zoo.dense(tf.reshape(zoo.convolution(x, 2, "first"), [size, 128]), 3, "out")


def by_squeezing(x: Any) -> Any:
    """Has no batch inside."""
    net = tf.reshape(tf.squeeze(zoo.convolution(x, 2, "first"), [0]), [1, 128])
    return zoo.dense(net, 3, "out")


def beside_a_constant_row(x: Any) -> Any:
    batch = x.shape[0] or tf.shape(x)[0]
    flat = tf.concat([tf.reduce_mean(x, [1, 2]), tf.zeros([batch, 2])], 1)
    flat.set_shape([x.shape[0], 4])
    return zoo.dense(flat, 3, "out")


@pytest.mark.parametrize(
    ("net", "max_batch"), [(by_layer, 0), (beside_a_constant_row, 0), (by_squeezing, 1)]
)
def test_a_graph_for_one_image_takes_any_number_or_one_at_a_time(
    net: Callable[[Any], Any], max_batch: int, tmp_path: Path
) -> None:
    def train() -> None:
        tf.nn.softmax(net(tf.placeholder(tf.float32, [1, 8, 8, 2], name="x")), name="probs")

    def infer() -> Any:
        batch = 1 if max_batch else None
        x = tf.placeholder(tf.float32, [batch, 8, 8, 2], name="input")
        return {"probs": tf.nn.softmax(net(x))}

    images = ONE[: max_batch or None]
    saved = save(tmp_path, train, infer, {"input": images})
    done = check(saved, tmp_path / "out", {"input": images}, outputs=["probs"])
    assert done.max_batch == max_batch
    assert [spec.shape for spec in done.towers[0].outputs] == [(-1, 3)]
    assert done.graph.file_name.startswith("one_by_one_") == bool(max_batch)
