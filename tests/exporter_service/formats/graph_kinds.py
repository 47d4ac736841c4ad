"""Small graphs of every kind that converters stumble over: (inputs, outputs) by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from exporter_service.formats.extra_format import Feeds
from tests.exporter_service.formats.frozen_graphs import Build, Tensors

_RNG = np.random.default_rng(7)
_KERNEL = _RNG.normal(size=(3, 3, 3, 8)).astype(np.float32)


def _noise(*shape: int) -> Any:
    return _RNG.normal(size=shape).astype(np.float32)


def _convolution_of_wide_images() -> tuple[Tensors, Tensors]:
    images = tf.placeholder(tf.float32, [None, 16, 20, 3], name="input")
    found = tf.nn.relu(tf.nn.conv2d(images, _KERNEL, [1, 2, 2, 1], "SAME"))
    pooled = tf.reduce_mean(found, [1, 2], name="pooled")
    return {"images": images}, {"map": tf.identity(found, name="map"), "pooled": pooled}


def _images_of_any_size() -> tuple[Tensors, Tensors]:
    images = tf.placeholder(tf.float32, [None, None, None, 3], name="input")
    return {"images": images}, {"map": tf.nn.conv2d(images, _KERNEL, 1, "SAME", name="map")}


def _bytes_that_are_cast_inside() -> tuple[Tensors, Tensors]:
    images = tf.placeholder(tf.uint8, [None, 16, 20, 3], name="input")
    found = tf.nn.conv2d(tf.cast(images, tf.float32) / 255.0, _KERNEL, 1, "VALID")
    return {"images": images}, {"probs": tf.nn.softmax(tf.reduce_mean(found, [1, 2]), name="p")}


def _two_inputs_and_two_outputs() -> tuple[Tensors, Tensors]:
    # Each semantic name is the other's name in the graph.
    left = tf.placeholder(tf.float32, [None, 4], name="index")
    index = tf.placeholder(tf.int32, [None], name="left")
    table = tf.constant(np.arange(40, dtype=np.float32).reshape(10, 4))
    total = tf.add(left, tf.gather(table, index), name="total")
    return {"left": left, "index": index}, {"sum": total, "best": tf.argmax(total, 1)}


def _loop_of_fixed_length() -> tuple[Tensors, Tensors]:
    start = tf.placeholder(tf.float32, [None, 4], name="input")
    _, end = tf.while_loop(
        lambda step, _: step < 5,
        lambda step, state: (step + 1, tf.tanh(state * 2.0)),
        [tf.constant(0), start],
    )
    return {"start": start}, {"end": tf.identity(end, name="end")}


def _loop_that_ends_on_its_numbers() -> tuple[Tensors, Tensors]:
    start = tf.placeholder(tf.float32, [None, 4], name="input")
    end = tf.while_loop(
        lambda state: tf.reduce_sum(tf.abs(state)) < 100.0, lambda state: state * 2.0, [start]
    )
    return {"start": start}, {"doubled": tf.identity(end, name="end")}


def _branches() -> tuple[Tensors, Tensors]:
    values = tf.placeholder(tf.float32, [None, 4], name="input")
    chosen = tf.cond(tf.reduce_sum(values) > 0, lambda: values * 2.0, lambda: values - 1.0)
    return {"values": values}, {"chosen": tf.identity(chosen, name="chosen")}


def _one_tensor_under_two_names() -> tuple[Tensors, Tensors]:
    values = tf.placeholder(tf.float32, [None, 4], name="input")
    positive = tf.nn.relu(values)
    return {"values": values}, {"one": positive, "other": positive, "untouched": values}


def _second_output_of_an_op() -> tuple[Tensors, Tensors]:
    values = tf.placeholder(tf.float32, [None, 4], name="input")
    best, where = tf.nn.top_k(values, 2)
    return {"values": values}, {"where": where, "best": best}


# Name -> what builds the graph, and what to feed.
KINDS: dict[str, tuple[Build, Feeds]] = {
    build.__name__.strip("_"): (build, feeds)
    for build, feeds in (
        (_convolution_of_wide_images, {"images": _noise(4, 16, 20, 3)}),
        (_images_of_any_size, {"images": _noise(2, 9, 13, 3)}),
        (
            _bytes_that_are_cast_inside,
            {"images": _RNG.integers(0, 256, (3, 16, 20, 3)).astype(np.uint8)},
        ),
        (
            _two_inputs_and_two_outputs,
            {"left": _noise(3, 4), "index": np.array([1, 9, 3], np.int32)},
        ),
        (_loop_of_fixed_length, {"start": _noise(3, 4)}),
        (_loop_that_ends_on_its_numbers, {"start": _noise(3, 4)}),
        (_branches, {"values": _noise(5, 4)}),
        (_one_tensor_under_two_names, {"values": _noise(5, 4)}),
        (_second_output_of_an_op, {"values": _noise(5, 4)}),
    )
}
