"""Graphs of other authors that once converted with wrong numbers, or were refused for nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.python.ops import control_flow_ops
from tensorflow.python.training import moving_averages

from service_kit import errors
from service_kit.artifacts.manifest import Conversion
from tests.support import training_graphs as zoo
from tests.support.meta_graph_conversions import (
    FLAT,
    IMAGES,
    batches,
    check,
    converted,
    images_placeholder,
)
from tests.support.training_graphs import save

Build = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def _as_tensorflow_1() -> Any:
    """Reference variables and Switch/Merge, as the first releases wrote them."""
    resource = tf.resource_variables_enabled()
    tf.disable_resource_variables()
    with zoo.control_flow(1):
        yield
    if resource:
        tf.enable_resource_variables()


def flat(folder: Path, train: Build, infer: Build, **parameters: Any) -> Conversion:
    """Checks a net of 12 features whose training builds `train` and inference `infer`."""

    def training() -> None:
        x, labels = batches((12,))
        logits = train(x)
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels, average=False)

    def inference() -> Any:
        return {"probs": tf.nn.softmax(infer(images_placeholder((12,))))}

    saved = save(folder, training, inference, {"input": FLAT}, averages=False)
    return check(saved, folder / "out", {"input": FLAT}, **parameters)


def asked(folder: Path, train: Build, words: str) -> None:
    """Checks that a net is not converted without a word of the user."""

    def training() -> None:
        x, labels = batches((12,))
        logits = train(x)
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels, average=False)

    saved = save(folder, training, lambda: {"x": tf.constant(0)}, {}, averages=False)
    with pytest.raises(errors.Unconvertible, match=words):
        converted(saved.prefix, folder / "out")


def two_layers(x: Any, between: Build = tf.nn.relu) -> Any:
    return zoo.dense(between(zoo.dense(x, 9, "a")), 3, "b")


def of_references(scope: str, names: str, shape: list[int]) -> list[Any]:
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE):
        return [zoo.variable(name, shape, trainable=False) for name in names.split()]


@pytest.mark.parametrize("debias", [True, False])
def test_the_corrected_average_is_taken_with_reference_variables(
    tmp_path: Path,
    debias: bool,  # noqa: FBT001
) -> None:
    def norm(x: Any, *, training: bool) -> Any:
        mean, variance = of_references("bn", "mean variance", [9])
        if training:
            moments = tf.nn.moments(x, [0])
            for moving, value in zip((mean, variance), moments, strict=True):
                moving_averages.assign_moving_average(moving, value, 0.9, zero_debias=debias)
            mean, variance = moments
        return tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3)

    flat(
        tmp_path,
        lambda x: two_layers(x, lambda h: norm(h, training=True)),
        lambda x: two_layers(x, lambda h: norm(h, training=False)),
    )


@pytest.mark.parametrize("kind", ["squares", "sum", "changes", "copy", "target"])
def test_what_only_looks_like_an_average_of_the_weights_is_none(tmp_path: Path, kind: str) -> None:
    def train(x: Any) -> Any:
        logits = two_layers(x)
        for weights in tf.trainable_variables():
            shape = weights.shape.as_list()
            (s,) = of_references(f"{weights.op.name}/shadow", "s", shape)
            value = {
                "squares": s * 0.9 + weights * weights * 0.1,
                "sum": s + weights,
                "changes": s * 0.9 + 0.1 * (weights - 0.5),
                "copy": tf.identity(weights),
                "target": s * 0.9 + weights * 0.1,
            }[kind]
            tf.assign(of_references("net2/" + weights.op.name, "t", shape)[0], value) if (
                kind == "target"
            ) else tf.assign(s, value)
        return logits

    flat(tmp_path, train, two_layers)


def test_of_two_averages_the_standard_one_is_taken(tmp_path: Path) -> None:
    def training() -> None:
        x, labels = batches((12,))
        logits = two_layers(x)
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels)
        tf.train.ExponentialMovingAverage(0.5, name="fast").apply(tf.trainable_variables())

    def inference() -> Any:
        return {"probs": tf.nn.softmax(two_layers(images_placeholder((12,))))}

    saved = save(tmp_path, training, inference, {"input": FLAT})
    check(saved, tmp_path / "out", {"input": FLAT})


@pytest.mark.parametrize("what", ["hidden", "temperature", "logits"])
def test_an_average_kept_for_monitoring_replaces_nothing(tmp_path: Path, what: str) -> None:
    def net(x: Any, *, watch: bool) -> Any:
        with tf.variable_scope("t", reuse=tf.AUTO_REUSE):
            temperature = tf.nn.softplus(zoo.variable("raw", [3]))
        hidden = tf.nn.relu(zoo.dense(tf.ensure_shape(x, [4, 12]) if watch else x, 9, "a"))
        logits = zoo.dense(hidden, 3, "b") / temperature
        if watch:
            tensor = {"hidden": hidden, "temperature": temperature, "logits": logits}[what]
            tf.train.ExponentialMovingAverage(0.9).apply([tensor])
        return logits

    def training() -> None:
        x, labels = batches((12,))
        x.set_shape([4, 12])
        logits = net(x, watch=True)
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels, average=False)

    def inference() -> Any:
        return {"probs": tf.nn.softmax(net(images_placeholder((12,)), watch=False))}

    saved = save(tmp_path, training, inference, {"input": FLAT}, averages=False)
    meta = saved.prefix.with_name(saved.prefix.name + ".meta")
    graph = MetaGraphDef.FromString(meta.read_bytes())
    for node in graph.graph_def.node:
        if node.op == "EnsureShape":
            node.op = "Identity"
            del node.attr["shape"]
    meta.write_bytes(graph.SerializeToString())
    check(saved, tmp_path / "out", {"input": FLAT})


def test_a_layers_own_statistics_go_before_monitored_ones(tmp_path: Path) -> None:
    def norm(x: Any, *, training: bool) -> Any:
        mean, variance = of_references("bn", "mean variance", [9])
        if training:
            moments = tf.nn.moments(x, [0])
            tf.train.ExponentialMovingAverage(0.5, name="monitor").apply(list(moments))
            for moving, value in zip((mean, variance), moments, strict=True):
                zoo.follow(moving, value)
            mean, variance = moments
        return tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3)

    done = flat(
        tmp_path,
        lambda x: two_layers(x, lambda h: norm(h, training=True)),
        lambda x: two_layers(x, lambda h: norm(h, training=False)),
    )
    assert any("took bn/mean" in line for line in done.warnings)


@pytest.mark.parametrize("form", ["rate", "keep", "default"])
def test_a_rate_that_is_used_elsewhere_is_the_one_for_no_dropout(tmp_path: Path, form: str) -> None:
    def train(x: Any) -> Any:
        if form == "keep":
            keep = tf.placeholder(tf.float32, [], name="keep")
            return two_layers(x, lambda h: zoo.dropout_1_0(h, keep) * keep)
        rate = (
            tf.placeholder_with_default(0.5, [], name="rate")
            if form == "default"
            else tf.placeholder(tf.float32, [], name="rate")
        )
        return two_layers(x, lambda h: zoo.dropout_1_15(h, rate) * (1.0 - rate))

    done = flat(tmp_path, train, lambda x: two_layers(x, lambda h: h))
    assert done.meta_graph is not None
    assert done.meta_graph.bound == ({"keep": "1.0"} if form == "keep" else {"rate": "0.0"})


def test_a_flag_that_is_on_in_inference_is_seen_to_be(tmp_path: Path) -> None:
    def train(x: Any) -> Any:
        is_test = tf.placeholder(tf.bool, [], name="is_test")
        hidden = tf.nn.relu(zoo.dense(x, 9, "a"))
        dropped = tf.cond(is_test, lambda: hidden * 2, lambda: tf.nn.dropout(hidden, rate=0.5))
        return zoo.dense(dropped, 3, "b")

    done = flat(tmp_path, train, lambda x: two_layers(x, lambda h: tf.nn.relu(h) * 2))
    assert done.meta_graph is not None
    assert done.meta_graph.bound == {"is_test": "True"}


def test_a_flag_that_is_no_phase_keeps_its_default_or_is_asked_for(tmp_path: Path) -> None:
    def with_flag(flag: Build) -> Build:
        def net(x: Any) -> Any:
            chosen = flag(x)
            return two_layers(x, lambda h: tf.cond(chosen, lambda: h * 3, lambda: h))

        return net

    flat(
        tmp_path,
        with_flag(lambda x: tf.placeholder_with_default(True, [], name="use_skip")),
        lambda x: two_layers(x, lambda h: h * 3),
    )
    for number, placeholder in enumerate(
        (
            lambda x: tf.placeholder(tf.bool, [], name="gate"),
            lambda x: tf.placeholder_with_default(True, [], name="is_training"),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        asked(folder, with_flag(placeholder), "bind the others to a value")


def test_an_attention_is_no_answer(tmp_path: Path) -> None:
    def net(x: Any) -> Any:
        parts = tf.reshape(x, [-1, 4, 3])
        attention = tf.nn.softmax(tf.reshape(zoo.dense(x, 4, "att"), [-1, 4, 1]), axis=1)
        classes = zoo.dense(tf.reshape(parts, [-1, 3]), 5, "cls")
        return tf.reduce_sum(attention * tf.reshape(classes, [-1, 4, 5]), 1)

    def training() -> None:
        x, _ = batches((12,))
        logits = net(x)
        tf.nn.sigmoid(logits, name="answers")
        labels = tf.ones_like(logits)
        loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
        tf.train.AdamOptimizer().minimize(tf.reduce_mean(loss))

    def inference() -> Any:
        return {"answers": tf.nn.sigmoid(net(images_placeholder((12,))))}

    saved = save(tmp_path, training, inference, {"input": FLAT})
    check(saved, tmp_path / "out", {"input": FLAT})


@pytest.mark.parametrize("route", ["itself", "product", "constant", "scatter"])
def test_values_that_pass_through_a_variable_are_refused(tmp_path: Path, route: str) -> None:
    def train(x: Any) -> Any:
        state = tf.get_variable("state", [9], use_resource=True, trainable=False)
        hidden = zoo.dense(x, 9, "a")
        value = tf.reduce_mean(hidden, 0)
        if route == "scatter":
            assigned = tf.raw_ops.ResourceScatterUpdate(
                resource=state.handle, indices=list(range(9)), updates=value
            )
        else:
            assigned = state.assign(value).op
        with tf.control_dependencies([assigned]):
            after = {
                "product": lambda: tf.multiply(state.read_value(), 2.0),
                "constant": lambda: tf.constant(1.0),
            }.get(route, lambda: assigned)()
        with tf.control_dependencies([after]):
            return zoo.dense(hidden * state.read_value(), 3, "b")

    asked(tmp_path, train, "values pass from the input through a variable: 1: .*of state")


def test_references_in_the_data_path_become_values(tmp_path: Path) -> None:
    def train(x: Any) -> Any:
        weights = zoo.variable("w", [12, 3])
        checked = control_flow_ops.with_dependencies(
            [tf.debugging.assert_positive(tf.reduce_sum(x))], weights._ref()
        )
        flag = tf.reduce_sum(x) > 100
        inside = tf.cond(flag, lambda: tf.matmul(x, weights), lambda: tf.matmul(x, weights) + 1)
        ready = tf.cond(
            tf.is_variable_initialized(weights), lambda: tf.constant(2.0), lambda: tf.constant(3.0)
        )
        return tf.check_numerics(tf.matmul(x, checked) + inside, "bad") * ready

    def infer(x: Any) -> Any:
        weights = zoo.variable("w", [12, 3])
        return (2 * tf.matmul(x, weights) + tf.cast(tf.reduce_sum(x) <= 100, tf.float32)) * 2

    flat(tmp_path, train, infer)


def test_a_fused_norm_that_is_given_its_moving_statistics_is_switched(tmp_path: Path) -> None:
    def norm(x: Any, *, training: bool) -> Any:
        mean, variance = of_references("bn", "mean variance", [4])
        gamma, beta = of_references("bn", "gamma beta", [4])
        y, batch_mean, batch_variance = tf.nn.fused_batch_norm(
            x, gamma, beta, mean, variance, 1e-3, is_training=training
        )
        if training:
            zoo.follow(mean, batch_mean)
            zoo.follow(variance, batch_variance)
        return y

    def net(x: Any, *, training: bool) -> Any:
        x = tf.nn.relu(norm(zoo.convolution(x, 4, "c"), training=training))
        return zoo.dense(tf.reduce_mean(x, [1, 2]), 3, "out")

    def train() -> None:
        images, labels = batches()
        logits = net(images, training=True)
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels)

    def infer() -> Any:
        return {"probs": tf.nn.softmax(net(images_placeholder(), training=False))}

    check(save(tmp_path, train, infer, {"input": IMAGES}), tmp_path / "out", {"input": IMAGES})


def test_images_that_are_standardised_one_by_one_are_no_batch_norm(tmp_path: Path) -> None:
    def net(x: Any) -> Any:
        x = tf.map_fn(tf.image.per_image_standardization, x)
        return zoo.dense(tf.reshape(x, [-1, 192]), 3, "out")

    def train() -> None:
        images, labels = batches()
        logits = net(images)
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels)

    def infer() -> Any:
        return {"probs": tf.nn.softmax(net(images_placeholder()))}

    saved = save(tmp_path, train, infer, {"input": IMAGES})
    check(saved, tmp_path / "out", {"input": IMAGES}, cards=2)


def test_another_training_tower_is_no_evaluation_copy(tmp_path: Path) -> None:
    def net(x: Any, *, training: bool) -> Any:
        x = zoo.unfused(zoo.convolution(x, 4, "c"), "bn", training=training)
        return zoo.dense(tf.reduce_mean(x, [1, 2]), 3, "out")

    def train() -> None:
        images, labels = batches()
        for index, part in enumerate(tf.split(images, 2)):
            with tf.name_scope(f"tower_{index}"):
                logits = net(part, training=True)
                tf.nn.softmax(logits, name="p")
        zoo.minimize(logits, tf.split(labels, 2)[1])

    def infer() -> Any:
        return {"probs": tf.nn.softmax(net(images_placeholder(), training=False))}

    saved = save(tmp_path, train, infer, {"input": IMAGES})
    done = check(
        saved, tmp_path / "out", {"input": IMAGES}, inputs=["split:0"], outputs=["tower_0/p"]
    )
    assert done.meta_graph is not None
    assert done.meta_graph.twin == ""


@pytest.mark.parametrize("kind", ["staircase", "unbiased", "gated", "mixed"])
def test_averages_are_recognised_whatever_their_rate_is_made_of(tmp_path: Path, kind: str) -> None:
    def norm(x: Any, *, training: bool) -> Any:
        mean, variance = of_references("bn", "mean variance", [9])
        if not training:
            return tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3)
        batch_mean, batch_variance = tf.nn.moments(x, [0])
        step = tf.train.get_or_create_global_step()
        decay: Any = 0.9
        if kind == "staircase":
            decay = 1 - tf.train.exponential_decay(0.5, step, 100, 0.5, staircase=True)
        followed = batch_variance
        if kind == "unbiased":
            count = tf.cast(tf.shape(x)[0], tf.float32)
            followed = batch_variance * (count / (count - 1))
        for moving, value in ((mean, batch_mean), (variance, followed)):
            new = moving * decay + value * (1 - decay)
            if kind == "gated":
                new = tf.where(tf.size(x) > 0, new, moving)
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign(moving, new))
        if kind == "mixed":
            phase = tf.placeholder(tf.float32, [], name="phase")
            batch_mean = phase * batch_mean + (1 - phase) * mean
            batch_variance = phase * batch_variance + (1 - phase) * variance
        return tf.nn.batch_normalization(x, batch_mean, batch_variance, None, None, 1e-3)

    flat(
        tmp_path,
        lambda x: two_layers(x, lambda h: norm(h, training=True)),
        lambda x: two_layers(x, lambda h: norm(h, training=False)),
        **({"bindings": {"phase": 0.0}} if kind == "mixed" else {}),
    )


def test_what_is_made_for_one_batch_follows_the_input(tmp_path: Path) -> None:
    def net(x: Any, batch: Any) -> Any:
        state = tf.zeros([batch, 6])
        with tf.variable_scope("net", reuse=tf.AUTO_REUSE):
            kernel = zoo.variable("kernel", [3, 3, 4, 3])
        for _ in range(2):
            flat_ = tf.reshape(x, [batch, 192])
            state = tf.tanh(zoo.dense(tf.concat([flat_, state], 1), 6, "cell"))
        up = tf.nn.conv2d_transpose(x, kernel, [batch, 16, 16, 4], [1, 2, 2, 1])
        return zoo.dense(tf.concat([tf.reduce_mean(up, [1, 2]), state], 1), 3, "out")

    def train() -> None:
        dataset = tf.data.Dataset.from_tensors((np.zeros((8, 8, 3), np.float32), 0))
        images, labels = tf.data.make_one_shot_iterator(
            dataset.repeat().batch(6, drop_remainder=True)
        ).get_next()
        logits = net(images, 6)
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels)

    def infer() -> Any:
        x = images_placeholder()
        return {"probs": tf.nn.softmax(net(x, tf.shape(x)[0]))}

    saved = save(tmp_path, train, infer, {"input": IMAGES})
    done = check(saved, tmp_path / "out", {"input": IMAGES})
    assert "made for one batch size, now for any" in done.warnings[0]


def test_the_first_releases_variables_are_frozen(tmp_path: Path) -> None:
    def training() -> None:
        x, labels = batches((12,))
        logits = two_layers(x)
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels)

    def inference() -> Any:
        return {"probs": tf.nn.softmax(two_layers(images_placeholder((12,))))}

    saved = save(tmp_path, training, inference, {"input": FLAT})
    path = saved.prefix.with_name(saved.prefix.name + ".meta")
    meta = MetaGraphDef.FromString(path.read_bytes())
    for node in meta.graph_def.node:
        if node.op == "VariableV2":
            node.op = "Variable"
    path.write_bytes(meta.SerializeToString())
    check(saved, tmp_path / "out", {"input": FLAT})
