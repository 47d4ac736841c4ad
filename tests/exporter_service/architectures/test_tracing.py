from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.architectures.architecture import Variable
from exporter_service.architectures.legacy_keras import provide_legacy_keras
from exporter_service.architectures.tracing import TracedBuilder
from service_kit import errors

Build = Callable[[Any], Any]


def traced(function: Build) -> TracedBuilder:
    return TracedBuilder("the plug-in tiny", lambda images, _: function(images))


def features(images: Any) -> Any:
    return tf.reduce_mean(images, [1, 2])


def logits(images: Any) -> Any:
    weights = tf.get_variable("w", [3, 2])
    tf.get_variable("moving", [2], initializer=tf.ones_initializer(), trainable=False)
    return tf.matmul(features(images), weights)


def variables(function: Build) -> dict[str, Variable]:
    return traced(function).variables(None, (8, 8))


def build_twice(function: Build) -> list[Any]:
    results = []
    with tf.Graph().as_default():
        for scope in ("Card_0", "Card_1"):
            with tf.name_scope(scope):
                images = tf.placeholder(tf.float32, [None, 8, 8, 3])
                results.append(traced(function)(images, None))
        results.append([variable.op.name for variable in tf.global_variables()])
    return results


def test_variables_are_read_off_a_trace() -> None:
    with tf.Graph().as_default() as graph:
        assert variables(logits) == {
            "w": Variable((3, 2), trainable=True),
            "moving": Variable((2,), trainable=False),
        }
        assert not graph.get_operations()


def test_a_variable_that_is_no_float_has_its_type() -> None:
    def net(images: Any) -> Any:
        step = tf.train.get_or_create_global_step()
        return logits(images) + tf.cast(step, tf.float32)

    assert variables(net)["global_step"] == Variable((), trainable=False, dtype="int64")


def test_variables_can_depend_on_the_image_size() -> None:
    def net(images: Any) -> Any:
        flat = tf.reshape(images, [-1, int(np.prod(images.shape[1:]))])
        return tf.matmul(flat, tf.get_variable("w", [int(flat.shape[1]), 2]))

    assert traced(net).variables(None, (4, 5))["w"].shape == (60, 2)


def test_a_second_call_shares_the_variables_of_the_first() -> None:
    first, second, names = build_twice(logits)
    assert (first.op.name, second.op.name) == ("Card_0/MatMul", "Card_1/MatMul")
    assert names == ["w", "moving"]


def test_variables_are_reference_variables() -> None:
    with tf.Graph().as_default():
        traced(logits)(tf.placeholder(tf.float32, [None, 8, 8, 3]), None)
        assert {variable.op.type for variable in tf.global_variables()} == {"VariableV2"}


def test_unnamed_scopes_begin_anew_in_a_second_call() -> None:
    def net(images: Any) -> Any:
        with tf.variable_scope(None, default_name="dense"):
            return logits(images)

    assert build_twice(net)[-1] == ["dense/w", "dense/moving"]


@pytest.mark.parametrize("name", ["norm", None])
def test_layers_of_tf_layers_are_shared(name: str | None) -> None:
    provide_legacy_keras()

    def net(images: Any) -> Any:
        normal = tf.layers.batch_normalization(features(images), name=name)
        return tf.layers.dense(tf.layers.dense(normal, 3), 2)

    norm = name or "batch_normalization"
    assert build_twice(net)[-1] == [
        *(f"{norm}/{part}" for part in ("gamma", "beta", "moving_mean", "moving_variance")),
        *("dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"),
    ]


def test_layers_of_tf_slim_are_shared() -> None:
    provide_legacy_keras()

    def net(images: Any) -> Any:
        import tf_slim as slim

        normal = {"updates_collections": tf.GraphKeys.UPDATE_OPS, "is_training": False}
        net = slim.conv2d(images, 2, 3, normalizer_fn=slim.batch_norm, normalizer_params=normal)
        return features(net)

    assert build_twice(net)[-1] == [
        "Conv/weights",
        *(f"Conv/BatchNorm/{part}" for part in ("beta", "moving_mean", "moving_variance")),
    ]


def test_variables_of_each_call_are_refused_for_a_second_card() -> None:
    def net(images: Any) -> Any:
        return logits(images) + tf.Variable(tf.zeros([2]), name="own")

    assert "own" in variables(net)
    with pytest.raises(
        errors.Unconvertible,
        match=r"the plug-in tiny makes new variables for the second card \(1: Card_1/own\): make",
    ):
        build_twice(net)


def test_a_failing_builder_is_named_with_its_line() -> None:
    def net(images: Any) -> Any:
        return tf.matmul(features(images), tf.get_variable("w", [4, 2]))

    line = net.__code__.co_firstlineno + 1
    with pytest.raises(
        errors.Unconvertible,
        match="the plug-in tiny cannot be built for images of 8x8: ValueError: "
        rf".*\(line {line} of test_tracing\.py\)",
    ):
        variables(net)


def test_a_builder_that_needs_a_size_is_told_when_there_is_none() -> None:
    def net(images: Any) -> Any:
        return tf.get_variable("w", [int(images.shape[1]), 2])

    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, None, None, 3])
        with pytest.raises(errors.Unconvertible, match="built for images of any size: TypeError"):
            traced(net)(images, None)


def outside_the_collection(images: Any) -> Any:
    return logits(images) + tf.get_variable("local", [2], collections=[])


def with_a_table(images: Any) -> Any:
    keys = tf.constant([1], tf.int64)
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, keys), -1)
    return logits(images) + tf.cast(table.lookup(keys), tf.float32)


def with_words(images: Any) -> Any:
    tf.get_variable("words", [2], tf.string, initializer=tf.constant_initializer("a"))
    return logits(images)


def with_any_shape(images: Any) -> Any:
    tf.get_variable("any", initializer=features(images), validate_shape=False)
    return logits(images)


def with_one_initial_value(images: Any) -> Any:
    value = tf.zeros([2])
    first = tf.get_variable("first", initializer=value)
    return logits(images) + first + tf.get_variable("second", initializer=value)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (outside_the_collection, r"outside the collection GLOBAL_VARIABLES \(1: local\)"),
        (with_a_table, r"has tables \(1: "),
        (with_words, r"that are no numbers \(1: words \(string\)\)"),
        (with_any_shape, r"without a fixed shape \(1: any\)"),
        (with_one_initial_value, "gives first and second one tensor as their initial value"),
    ],
)
def test_state_that_no_checkpoint_can_restore_is_refused(function: Build, problem: str) -> None:
    with pytest.raises(errors.Unconvertible, match=problem):
        variables(function)


def in_another_graph(images: Any) -> Any:
    with tf.Graph().as_default():
        return tf.zeros([2, 2])


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda _: None, "returned NoneType as logits"),
        (lambda images: (logits(images), {}), "returned tuple as logits"),
        (lambda images: images, r"returned float32 logits of shape \(None, 8, 8, 3\)"),
        (lambda images: tf.argmax(logits(images), 1)[:, None], "returned int64 logits"),
        (lambda images: logits(images)[0][None], r"logits of shape \(1, 2\): the first dimension"),
        (tf.reduce_mean, r"logits of shape \(\): the first dimension"),
        (in_another_graph, "made logits in another graph"),
        (lambda _: {}, "returned no outputs"),
        (lambda images: {3: images}, "an output called 3"),
        (lambda images: {"a": images, "b": 3}, "returned int as output b"),
        (lambda images: {"a": tf.as_string(images)}, "returned output a as string"),
    ],
)
def test_results_that_cannot_be_served_are_refused(function: Build, problem: str) -> None:
    with pytest.raises(errors.Unconvertible, match=f"the plug-in tiny .*{problem}"):
        variables(function)


def test_an_error_of_ours_passes_as_it_is() -> None:
    def net(images: Any) -> Any:
        raise errors.InvalidParameters("classes must be even")

    with pytest.raises(errors.InvalidParameters, match="must be even"):
        variables(net)
