"""Training graphs as TensorFlow 1 users write them, saved with their checkpoints.

Each has its inference written out by hand as well: what a conversion from the `.meta` alone has
to answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

EPSILON = 1e-3
DECAY = 0.9
STEP = 7

Feeds = Mapping[str, np.ndarray[Any, Any]]


@contextlib.contextmanager
def control_flow(version: int) -> Iterator[None]:
    """Lets conditions and loops be written as TensorFlow 1 (Switch, Merge) or 2 (If, While) did."""
    was = tf.control_flow_v2_enabled()
    (tf.enable_control_flow_v2 if version == 2 else tf.disable_control_flow_v2)()
    try:
        yield
    finally:
        (tf.enable_control_flow_v2 if was else tf.disable_control_flow_v2)()


def variable(name: str, shape: list[int], *, trainable: bool = True, resource: bool = False) -> Any:
    return tf.get_variable(
        name, shape, trainable=trainable, use_resource=resource,
        initializer=tf.random_uniform_initializer(-0.5, 0.5, seed=hash(name) % 1000),
    )  # fmt: skip


def dense(x: Any, units: int, name: str, **kwargs: Any) -> Any:
    with tf.variable_scope(name, reuse=tf.AUTO_REUSE):
        weights = variable("w", [int(x.shape[-1]), units], **kwargs)
        return tf.matmul(x, tf.cast(weights, x.dtype)) + tf.cast(
            variable("b", [units], **kwargs), x.dtype
        )


def convolution(x: Any, filters: int, name: str, **kwargs: Any) -> Any:
    with tf.variable_scope(name, reuse=tf.AUTO_REUSE):
        weights = variable("w", [3, 3, int(x.shape[-1]), filters], **kwargs)
        return tf.nn.conv2d(x, weights, [1, 1, 1, 1], "SAME")


def statistics(channels: int, **kwargs: Any) -> tuple[Any, Any, Any, Any]:
    gamma = variable("gamma", [channels], **kwargs)
    beta = variable("beta", [channels], **kwargs)
    mean = variable("moving_mean", [channels], trainable=False, **kwargs)
    variance = variable("moving_variance", [channels], trainable=False, **kwargs)
    return gamma, beta, mean, variance


def follow(moving: Any, value: Any) -> None:
    """Updates a moving statistic as slim does, in UPDATE_OPS."""
    update = tf.assign_sub(moving, (moving - value) * (1 - DECAY))
    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)


def fused(x: Any, name: str, *, training: bool, **kwargs: Any) -> Any:
    with tf.variable_scope(name, reuse=tf.AUTO_REUSE):
        gamma, beta, mean, variance = statistics(int(x.shape[-1]), **kwargs)
        if not training:
            return tf.nn.fused_batch_norm(
                x, gamma, beta, mean, variance, EPSILON, is_training=False
            )[0]
        y, batch_mean, batch_variance = tf.nn.fused_batch_norm(x, gamma, beta, epsilon=EPSILON)
        follow(mean, batch_mean)
        follow(variance, batch_variance)
        return y


def unfused(x: Any, name: str, *, training: bool, keep: bool = False, **kwargs: Any) -> Any:
    """Batch norm by moments; `keep`: with dimensions kept until the update squeezes them."""
    with tf.variable_scope(name, reuse=tf.AUTO_REUSE):
        gamma, beta, mean, variance = statistics(int(x.shape[-1]), **kwargs)
        if training:
            axes = list(range(len(x.shape) - 1))
            batch_mean, batch_variance = tf.nn.moments(x, axes, keepdims=keep)
            follow(mean, tf.reshape(batch_mean, [-1]) if keep else batch_mean)
            follow(variance, tf.squeeze(batch_variance) if keep else batch_variance)
            mean, variance = batch_mean, batch_variance
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON)


def switched(x: Any, name: str, training: Any, **kwargs: Any) -> Any:
    """Batch norm under a condition, with moving averages of the moments, as in many tutorials."""
    with tf.variable_scope(name, reuse=tf.AUTO_REUSE):
        gamma, beta, mean, variance = statistics(int(x.shape[-1]), **kwargs)
        batch_mean, batch_variance = tf.nn.moments(x, list(range(len(x.shape) - 1)))

        def with_update() -> Any:
            updates = [
                mean.assign(mean * DECAY + batch_mean * (1 - DECAY)),
                variance.assign(variance * DECAY + batch_variance * (1 - DECAY)),
            ]
            with tf.control_dependencies(updates):
                return tf.identity(batch_mean), tf.identity(batch_variance)

        used = tf.cond(training, with_update, lambda: (tf.identity(mean), tf.identity(variance)))
        return tf.nn.batch_normalization(x, used[0], used[1], beta, gamma, EPSILON)


def dropout_1_0(x: Any, keep: Any) -> Any:
    """As releases up to 1.12 wrote it."""
    mask = tf.floor(keep + tf.random_uniform(tf.shape(x)))
    return tf.div(x, keep) * mask


def dropout_1_15(x: Any, rate: Any) -> Any:
    """As 1.14 and 1.15 wrote it."""
    mask = tf.random_uniform(tf.shape(x)) >= rate
    return x * (1 / (1 - rate)) * tf.cast(mask, x.dtype)


@dataclass(frozen=True)
class Saved:
    """A checkpoint with its `.meta`, and what inference answers."""

    prefix: Path
    wanted: dict[str, np.ndarray[Any, Any]]


def minimize(logits: Any, labels: Any, average: bool = True) -> Any:  # noqa: FBT001, FBT002
    """Adds loss, Adam, updates and moving averages of the weights."""
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        step = tf.train.AdamOptimizer().minimize(loss, tf.train.get_or_create_global_step())
    if average:
        ema = tf.train.ExponentialMovingAverage(DECAY)
        with tf.control_dependencies([step]):
            step = ema.apply(tf.trainable_variables())
    tf.summary.scalar("loss", loss)
    return step


def save(
    folder: Path,
    train: Callable[[], Any],
    infer: Callable[[], Mapping[str, Any]],
    feeds: Feeds,
    *,
    averages: bool = True,
    saver: Callable[[], Any] = tf.train.Saver,
) -> Saved:
    """Saves a training graph with random values and evaluates its inference by hand.

    Args:
        folder: where the checkpoint goes.
        train: builds the training graph.
        infer: builds the inference graph; returns its outputs by name.
        feeds: placeholder of the inference graph -> batch.
        averages: the inference takes shadows where the checkpoint has them.
        saver: makes the saver of the training graph.
    """
    random = np.random.default_rng(3)
    soft = tf.ConfigProto(allow_soft_placement=True)
    with tf.Graph().as_default(), tf.Session(config=soft) as session:
        train()
        values = {}
        for one in tf.global_variables():
            shape = one.shape.as_list()
            # Variances and biased sums must be positive; weights should not be large.
            values[one.op.name] = (random.uniform(0.2, 0.8, shape)).astype(
                one.dtype.base_dtype.as_numpy_dtype
            )
        session.run(
            [one.initializer for one in tf.global_variables()],
            {one.initializer.inputs[1]: values[one.op.name] for one in tf.global_variables()},
        )
        prefix = saver().save(session, str(folder / "model.ckpt"), STEP)
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = infer()
        restored = {}
        for one in tf.global_variables():
            shadow = one.op.name + "/ExponentialMovingAverage"
            key = shadow if averages and shadow in values else one.op.name
            restored[one.initializer.inputs[1]] = values[key]
        session.run([one.initializer for one in tf.global_variables()], restored)
        wanted = session.run(dict(outputs), {f"{name}:0": value for name, value in feeds.items()})
    return Saved(Path(prefix), wanted)
