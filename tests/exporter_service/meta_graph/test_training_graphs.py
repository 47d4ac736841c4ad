"""Training graphs of every kind, converted from their `.meta` alone and compared by number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from service_kit import errors
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

Norm = Callable[..., Any]


def small_net(x: Any, norm: Norm, *, training: bool, **kwargs: Any) -> Any:
    x = norm(zoo.convolution(x, 4, "conv1"), "bn1", training=training, **kwargs)
    x = norm(zoo.convolution(tf.nn.relu(x), 6, "conv2"), "bn2", training=training, **kwargs)
    return zoo.dense(tf.reduce_mean(tf.nn.relu(x), [1, 2]), 5, "logits")


@pytest.mark.parametrize("resource", [False, True])
@pytest.mark.parametrize("cards", [1, 3])
@pytest.mark.parametrize("norm", [zoo.fused, zoo.unfused])
def test_batch_norms_take_their_moving_statistics(
    tmp_path: Path,
    norm: Norm,
    cards: int,
    resource: bool,  # noqa: FBT001
) -> None:
    def train() -> None:
        images, labels = batches()
        logits = small_net(images, norm, training=True, resource=resource)
        tf.nn.softmax(logits, name="answers")
        zoo.minimize(logits, labels)

    def infer() -> Any:
        logits = small_net(images_placeholder(), norm, training=False)
        return {"probs": tf.nn.softmax(logits)}

    saved = save(tmp_path, train, infer, {"input": IMAGES})
    done = check(saved, tmp_path / "out", {"input": IMAGES}, cards=cards)
    assert done.meta_graph is not None
    assert done.meta_graph.batch_norms_switched == (2 if norm is zoo.fused else 4)
    assert done.meta_graph.inputs[0].tensor_name == "IteratorGetNext:0"
    assert "TensorSliceDataset" in done.meta_graph.inputs[0].upstream
    assert done.moving_average.from_shadow == 8
    assert len(done.towers) == cards


def test_statistics_with_kept_dimensions_are_taken_too(tmp_path: Path) -> None:
    def train() -> None:
        images, labels = batches()
        logits = small_net(images, zoo.unfused, training=True, keep=True)
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels)

    def infer() -> Any:
        return {
            "probs": tf.nn.softmax(small_net(images_placeholder(), zoo.unfused, training=False))
        }

    saved = save(tmp_path, train, infer, {"input": IMAGES})
    check(saved, tmp_path / "out", {"input": IMAGES})


@pytest.mark.parametrize("mode", ["AUTO", "OFF"])
def test_own_values_and_averages_are_told_apart(tmp_path: Path, mode: str) -> None:
    def train() -> None:
        features, labels = batches((12,))
        logits = zoo.dense(tf.nn.relu(zoo.dense(features, 7, "hidden")), 3, "out")
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels)

    def infer() -> Any:
        x = images_placeholder((12,))
        return {"probs": tf.nn.softmax(zoo.dense(tf.nn.relu(zoo.dense(x, 7, "hidden")), 3, "out"))}

    saved = save(tmp_path, train, infer, {"input": FLAT}, averages=mode == "AUTO")
    check(saved, tmp_path / "out", {"input": FLAT}, moving_average=mode)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("default", [False, True])
def test_a_training_phase_is_bound_to_false(
    tmp_path: Path,
    version: int,
    default: bool,  # noqa: FBT001
) -> None:
    def train() -> None:
        x = tf.placeholder(tf.float32, [None, 8, 8, 3], name="images")
        labels = tf.placeholder(tf.int32, [None], name="labels")
        phase = (
            tf.placeholder_with_default(True, [], name="phase")
            if default
            else tf.placeholder(tf.bool, [], name="phase")
        )
        x = zoo.convolution(x, 4, "conv")
        x = tf.nn.relu(zoo.switched(x, "bn", phase, resource=version == 2))
        x = tf.cond(phase, lambda: tf.nn.dropout(x, rate=0.4), lambda: x)
        logits = zoo.dense(tf.reshape(x, [-1, 256]), 3, "out")
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels)

    def infer() -> Any:
        x = zoo.convolution(images_placeholder(), 4, "conv")
        x = tf.nn.relu(zoo.unfused(x, "bn", training=False))
        return {"probs": tf.nn.softmax(zoo.dense(tf.reshape(x, [-1, 256]), 3, "out"))}

    with zoo.control_flow(version):
        saved = save(tmp_path, train, infer, {"input": IMAGES})
    done = check(saved, tmp_path / "out", {"input": IMAGES})
    assert done.meta_graph is not None
    assert done.meta_graph.bound == {"phase": "False"}
    assert done.meta_graph.inputs[0].tensor_name == "images:0"


@pytest.mark.parametrize("form", ["1.0", "1.15", "now", "keep placeholder", "rate placeholder"])
def test_dropouts_pass_their_input_on(tmp_path: Path, form: str) -> None:
    def drop(x: Any) -> Any:
        if form == "1.0":
            return zoo.dropout_1_0(x, tf.constant(0.7))
        if form == "1.15":
            return zoo.dropout_1_15(x, tf.constant(0.3))
        if form == "now":
            return tf.nn.dropout(x, rate=0.3)
        if form == "keep placeholder":
            return zoo.dropout_1_0(x, tf.placeholder(tf.float32, [], name="keep_prob"))
        return zoo.dropout_1_15(x, tf.placeholder(tf.float32, [], name="rate"))

    def net(x: Any, drop: Callable[[Any], Any]) -> Any:
        x = drop(tf.nn.relu(zoo.dense(x, 9, "a")))
        return zoo.dense(drop(tf.nn.relu(zoo.dense(x, 9, "b"))), 3, "c")

    def train() -> None:
        x, labels = batches((12,))
        logits = net(x, drop)
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels, average=False)

    def infer() -> Any:
        return {"probs": tf.nn.softmax(net(images_placeholder((12,)), lambda x: x))}

    saved = save(tmp_path, train, infer, {"input": FLAT})
    done = check(saved, tmp_path / "out", {"input": FLAT})
    assert done.meta_graph is not None
    assert done.meta_graph.dropouts_removed == 2


def test_a_queue_of_one_batch_size_becomes_an_input_of_any(tmp_path: Path) -> None:
    """As the CIFAR tutorial: a queue, a fixed batch, a reshape to it."""

    def net(x: Any, batch: int) -> Any:
        x = tf.nn.max_pool2d(tf.nn.relu(zoo.convolution(x, 4, "conv")), 2, 2, "SAME")
        return zoo.dense(tf.reshape(x, [batch, -1]), 3, "out")

    def train() -> None:
        image = tf.cast(tf.random_crop(tf.zeros([10, 10, 3], tf.uint8), [8, 8, 3]), tf.float32)
        queue = tf.FIFOQueue(64, [tf.float32, tf.int32], [[8, 8, 3], []])
        enqueue = queue.enqueue([tf.image.per_image_standardization(image), tf.constant(1)])
        tf.train.add_queue_runner(tf.train.QueueRunner(queue, [enqueue]))
        images, labels = queue.dequeue_many(16)
        with tf.variable_scope("net"):
            x = tf.nn.max_pool2d(tf.nn.relu(zoo.convolution(images, 4, "conv")), 2, 2, "SAME")
            flat = tf.reshape(x, [16, -1])
            flat.set_shape([16, 64])
            logits = zoo.dense(flat, 3, "out")
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels)

    def infer() -> Any:
        x = images_placeholder()
        with tf.variable_scope("net"):
            x = zoo.convolution(x, 4, "conv")
            x = tf.nn.max_pool2d(tf.nn.relu(x), 2, 2, "SAME")
            return {"probs": tf.nn.softmax(zoo.dense(tf.reshape(x, [-1, 64]), 3, "out"))}

    saved = save(tmp_path, train, infer, {"input": IMAGES})
    done = check(saved, tmp_path / "out", {"input": IMAGES})
    assert done.meta_graph is not None
    cut = done.meta_graph.inputs[0]
    assert cut.kind == "QueueDequeueManyV2"
    assert {"QueueEnqueueV2", "RandomUniformInt"} <= set(cut.upstream)
    assert "now for any" in done.warnings[0]


def test_float64_inputs_keep_their_type(tmp_path: Path) -> None:
    def train() -> None:
        x, labels = batches((12,), tf.float64)
        logits = zoo.dense(x, 3, "out")
        tf.nn.softmax(logits)
        zoo.minimize(tf.cast(logits, tf.float32), labels)

    def infer() -> Any:
        x = images_placeholder((12,), tf.float64)
        return {"probs": tf.nn.softmax(zoo.dense(x, 3, "out"))}

    feeds = {"input": FLAT.astype(np.float64)}
    done = check(save(tmp_path, train, infer, feeds), tmp_path / "out", feeds)
    assert done.towers[0].inputs[0].dtype == "float64"
    assert done.towers[0].outputs[0].dtype == "float64"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("cards", [1, 2])
def test_loops_stay_loops(tmp_path: Path, version: int, cards: int) -> None:
    def net(x: Any) -> Any:
        """A recurrent net over 4 steps of 3 features, with an array of its states."""
        with tf.variable_scope("cell", reuse=tf.AUTO_REUSE):
            w, u = zoo.variable("w", [3, 6]), zoo.variable("u", [6, 6])
        steps = tf.transpose(tf.reshape(x, [-1, 4, 3]), [1, 0, 2])
        states = tf.TensorArray(tf.float32, 4, element_shape=[None, 6])
        begin = tf.zeros([tf.shape(x)[0], 6])

        def body(i: Any, state: Any, states: Any) -> Any:
            state = tf.tanh(tf.matmul(steps[i], w) + tf.matmul(state, u) + 0.5)
            return i + 1, state, states.write(i, state)

        loop = tf.while_loop(
            lambda i, *_: i < 4, body, (0, begin, states),
            shape_invariants=(
                tf.TensorShape([]), tf.TensorShape([None, 6]), tf.TensorShape(None)
            ) if version == 1 else None,
        )  # fmt: skip
        return zoo.dense(tf.reduce_mean(loop[2].stack(), 0) + loop[1], 3, "out")

    def train() -> None:
        x, labels = batches((12,))
        logits = net(x)
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels)

    def infer() -> Any:
        return {"probs": tf.nn.softmax(net(images_placeholder((12,))))}

    with zoo.control_flow(version):
        saved = save(tmp_path, train, infer, {"input": FLAT})
    check(saved, tmp_path / "out", {"input": FLAT}, cards=cards)


def test_two_inputs_and_several_outputs_have_names(tmp_path: Path) -> None:
    def net(x: Any, extra: Any) -> Any:
        features = tf.concat([zoo.dense(x, 5, "a"), tf.cast(extra, tf.float32)], 1)
        return zoo.dense(features, 3, "classes"), zoo.dense(features, 1, "age")

    def train() -> None:
        dataset = tf.data.Dataset.from_tensors(
            (np.zeros((4, 12), np.float32), np.zeros((4, 2), np.int64), np.zeros(4, np.int32))
        )
        x, extra, labels = tf.data.make_one_shot_iterator(dataset.repeat()).get_next()
        logits, age = net(x, extra)
        tf.nn.softmax(logits, name="head/classes")
        tf.identity(age, name="head/age")
        zoo.minimize(logits, labels)

    def infer() -> Any:
        x = tf.placeholder(tf.float32, [None, 12], name="features")
        extra = tf.placeholder(tf.int64, [None, 2], name="more")
        logits, age = net(x, extra)
        return {"classes": tf.nn.softmax(logits), "years": age}

    feeds: zoo.Feeds = {"features": FLAT, "more": np.arange(10).reshape(5, 2)}
    saved = save(tmp_path, train, infer, feeds)
    done = check(
        saved, tmp_path / "out", feeds, cards=2,
        inputs=["features=IteratorGetNext:0", "more=IteratorGetNext:1"],
        outputs=["head/classes", "years=head/age:0"],
    )  # fmt: skip
    assert [spec.dtype for spec in done.towers[1].inputs] == ["float32", "int64"]
    with pytest.raises(errors.Unconvertible, match="which tensors are the inputs") as caught:
        converted(saved.prefix, tmp_path / "other", outputs=["head/classes"])
    assert "IteratorGetNext:0 (IteratorGetNext, float32 [4, 12])" in str(caught.value)
    assert "IteratorGetNext:1 (IteratorGetNext, int64 [4, 2])" in str(caught.value)
    with pytest.raises(errors.Unconvertible, match="also depend on 1: IteratorGetNext:1"):
        converted(saved.prefix, tmp_path / "o", outputs=["head/age"], inputs=["IteratorGetNext:0"])


def named_keys() -> Any:
    return tf.train.Saver({f"{one.op.name}:0": one for one in tf.global_variables()})


def other_keys() -> Any:
    return tf.train.Saver({f"old/{one.op.name}": one for one in tf.global_variables()})


@pytest.mark.parametrize("saver", [named_keys, other_keys])
def test_the_graphs_own_saver_says_under_which_key_a_variable_is(
    tmp_path: Path, saver: Callable[[], Any]
) -> None:
    def train() -> None:
        x, labels = batches((12,))
        logits = zoo.dense(x, 3, "out")
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels)

    def infer() -> Any:
        return {"probs": tf.nn.softmax(zoo.dense(images_placeholder((12,)), 3, "out"))}

    saved = save(tmp_path, train, infer, {"input": FLAT}, saver=saver)
    done = check(saved, tmp_path / "out", {"input": FLAT})
    assert done.moving_average.from_shadow == 2


def test_a_partitioned_variable_is_cut_out_of_its_key(tmp_path: Path) -> None:
    def train() -> None:
        x, labels = batches((12,))
        with tf.variable_scope("out", partitioner=tf.fixed_size_partitioner(3)):
            weights = tf.get_variable("w", [12, 3], use_resource=False)
        logits = tf.matmul(x, tf.convert_to_tensor(weights))
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels, average=False)

    def infer() -> Any:
        x = images_placeholder((12,))
        parts = [tf.get_variable(f"out/w/part_{i}", [4, 3], use_resource=False) for i in range(3)]
        return {"probs": tf.nn.softmax(tf.matmul(x, tf.concat(parts, 0)))}

    saved = save(tmp_path, train, infer, {"input": FLAT})
    check(saved, tmp_path / "out", {"input": FLAT})


def test_an_evaluation_copy_in_the_same_graph_is_compared_with(tmp_path: Path) -> None:
    def train() -> None:
        images, labels = batches()
        logits = small_net(images, zoo.fused, training=True)
        tf.nn.softmax(logits, name="train_probs")
        zoo.minimize(logits, labels)
        other = tf.placeholder(tf.float32, [None, 8, 8, 3], name="eval_images")
        tf.nn.softmax(small_net(other, zoo.fused, training=False), name="eval_probs")

    def infer() -> Any:
        return {"probs": tf.nn.softmax(small_net(images_placeholder(), zoo.fused, training=False))}

    saved = save(tmp_path, train, infer, {"input": IMAGES})
    done = check(saved, tmp_path / "out", {"input": IMAGES}, outputs=["train_probs"])
    assert done.meta_graph is not None
    assert done.meta_graph.twin == "eval_probs:0"
    assert any("evaluation copy" in one.subject for one in done.parity.comparisons)
    # Without being told, the copy that needs no switching is the one to take.
    alone = check(saved, tmp_path / "alone", {"input": IMAGES})
    assert alone.towers[0].outputs[0].tensor_name == "eval_probs:0"


def test_one_of_several_training_towers_is_taken(tmp_path: Path) -> None:
    def train() -> None:
        images, labels = batches()
        for index, part in enumerate(tf.split(images, 2)):
            with tf.name_scope(f"tower_{index}"), tf.device(f"/gpu:{index}"):
                logits = small_net(part, zoo.fused, training=True)
                tf.nn.softmax(logits)
        zoo.minimize(logits, tf.split(labels, 2)[1])

    def infer() -> Any:
        return {"probs": tf.nn.softmax(small_net(images_placeholder(), zoo.fused, training=False))}

    saved = save(tmp_path, train, infer, {"input": IMAGES})
    done = check(saved, tmp_path / "out", {"input": IMAGES}, inputs=["input=split:0"])
    assert done.towers[0].outputs[0].tensor_name == "tower_0/Softmax:0"


def test_averages_with_bias_correction_lead_to_the_corrected_one(tmp_path: Path) -> None:
    from tensorflow.python.training import moving_averages

    def norm(x: Any, name: str, *, training: bool) -> Any:
        if not training:
            return zoo.unfused(x, name, training=False)
        with tf.variable_scope(name):
            gamma, beta, mean, variance = zoo.statistics(int(x.shape[-1]))
            moments = tf.nn.moments(x, [0])
            for moving, value in zip((mean, variance), moments, strict=True):
                update = moving_averages.assign_moving_average(
                    moving, value, decay, zero_debias=True
                )
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
            return tf.nn.batch_normalization(x, *moments, beta, gamma, zoo.EPSILON)

    decay = zoo.DECAY

    def train() -> None:
        x, labels = batches((12,))
        logits = zoo.dense(tf.nn.relu(norm(zoo.dense(x, 7, "a"), "bn", training=True)), 3, "out")
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels)

    def infer() -> Any:
        x = zoo.dense(images_placeholder((12,)), 7, "a")
        return {
            "probs": tf.nn.softmax(zoo.dense(tf.nn.relu(norm(x, "bn", training=False)), 3, "out"))
        }

    saved = save(tmp_path, train, infer, {"input": FLAT})
    check(saved, tmp_path / "out", {"input": FLAT})
