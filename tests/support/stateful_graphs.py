"""Graphs whose outputs read what the same graph assigns, each with what its variable is.

Every builder takes the input (any batch of 6 features, unless it makes its own), whether its
variables are resources, and returns the logits. The variable that is asked about is `s`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf
from tensorflow.python.training import moving_averages

Build = Callable[[Any, bool], Any]
UNITS = 5


def made(
    name: str,
    shape: list[int],
    resource: bool,  # noqa: FBT001
    *,
    trainable: bool = False,
    value: float = 0.0,
) -> Any:
    return tf.get_variable(
        name, shape, trainable=trainable, use_resource=resource,
        initializer=tf.constant_initializer(value),
    )  # fmt: skip


def weight(name: str, shape: list[int], resource: bool) -> Any:  # noqa: FBT001
    return tf.get_variable(
        name, shape, use_resource=resource,
        initializer=tf.random_uniform_initializer(-1, 1, seed=len(name)),
    )  # fmt: skip


def features(x: Any, resource: bool) -> Any:  # noqa: FBT001
    return tf.tanh(tf.matmul(x, weight("w", [int(x.shape[-1]), UNITS], resource)))


def after(update: Any, value: Any) -> Any:
    """Returns a value that waits for an update; `plain` is the same without."""
    value = tf.identity(value, name="plain")
    with tf.control_dependencies([update]):
        return tf.identity(value)


def batch_mean(x: Any) -> Any:
    return tf.reduce_mean(x, 0)


def unfused_norm(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [UNITS], resource)
    return after(tf.assign_sub(s, (s - batch_mean(h)) * 0.1), h - s)


def fused_norm(x: Any, resource: bool) -> Any:  # noqa: FBT001
    image = tf.reshape(features(x, resource), [-1, 1, 1, UNITS])
    s, variance = made("s", [UNITS], resource), made("v", [UNITS], resource, value=1.0)
    one = tf.ones([UNITS])
    _, mean, _ = tf.nn.fused_batch_norm(image, one, one)
    update = tf.assign(s, s * 0.9 + mean * 0.1)
    return after(update, tf.nn.fused_batch_norm(image, one, one, s, variance, is_training=False)[0])


def debiased(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [UNITS], resource)
    return after(moving_averages.assign_moving_average(s, batch_mean(h), 0.9), h - s)


def renorm(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [UNITS], resource)
    mean = batch_mean(h)
    shift = tf.stop_gradient(mean - s)
    return after(tf.assign_sub(s, (s - mean) * 0.1), h - mean + shift)


def image_norm_of_one(x: Any, resource: bool) -> Any:  # noqa: FBT001
    image = tf.reshape(x, [1, 2, 3, 1]) * weight("w", [UNITS], resource)
    s = made("s", [UNITS], resource)
    update = tf.assign_sub(s, (s - tf.reduce_mean(image, [0, 1, 2])) * 0.1)
    return after(update, image - s)


def gated_norm(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [UNITS], resource)
    finite = tf.reduce_all(tf.is_finite(h))
    value = tf.cond(finite, lambda: s * 0.9 + 0.1 * batch_mean(h), lambda: tf.identity(s))
    return after(tf.assign(s, value), h - s)


def moving_range(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [], resource, value=1.0)
    high = tf.assign_sub(s, 0.1 * (s - tf.maximum(tf.reduce_max(h), 0.0)))
    return tf.fake_quant_with_min_max_vars(h, -1.0, high)


def last_range(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [], resource, value=1.0)
    return tf.fake_quant_with_min_max_vars(h, -1.0, tf.assign(s, tf.reduce_max(h)))


def range_by_hand(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [], resource, value=1.0)
    step = tf.assign(s, tf.reduce_max(tf.abs(h))) / 127.0
    return tf.round(h / step) * step


def range_of_weights(x: Any, resource: bool) -> Any:  # noqa: FBT001
    w, s = weight("w", [6, UNITS], resource), made("s", [], resource, value=1.0)
    return tf.matmul(x, w) / tf.assign(s, tf.reduce_max(w))


def running_extremum(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [], resource)
    return h / (after(tf.assign(s, tf.maximum(s, tf.reduce_max(h))), s) + 1.0)


def spectral(x: Any, resource: bool) -> Any:  # noqa: FBT001
    w, s = weight("w", [6, UNITS], resource), made("s", [1, UNITS], resource, value=1.0)
    v = tf.nn.l2_normalize(tf.matmul(s, w, transpose_b=True))
    u = tf.nn.l2_normalize(tf.matmul(v, w))
    sigma = tf.reduce_sum(tf.matmul(tf.matmul(v, w), u, transpose_b=True))
    return after(tf.assign(s, u), tf.matmul(x, w / sigma))


def codebook(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h = features(x, resource)
    s = tf.get_variable(
        "s", [UNITS, 4], trainable=False, use_resource=resource,
        initializer=tf.random_uniform_initializer(-1, 1, seed=3),
    )  # fmt: skip
    sums, counts = made("sums", [UNITS, 4], resource), made("counts", [4], resource, value=1.0)
    distances = (
        tf.reduce_sum(h**2, 1, keepdims=True)
        - 2 * tf.matmul(h, s)
        + tf.reduce_sum(s**2, 0, keepdims=True)
    )
    chosen = tf.argmin(distances, 1)
    one_hot = tf.one_hot(chosen, 4)
    new_counts = moving_averages.assign_moving_average(
        counts, tf.reduce_sum(one_hot, 0), 0.99, zero_debias=False
    )
    new_sums = moving_averages.assign_moving_average(
        sums, tf.matmul(h, one_hot, transpose_a=True), 0.99, zero_debias=False
    )
    total = tf.reduce_sum(new_counts)
    smooth = (new_counts + 1e-5) / (total + 4e-5) * total
    update = tf.assign(s, new_sums / tf.reshape(smooth, [1, -1]))
    return after(update, tf.nn.embedding_lookup(tf.transpose(s.read_value()), chosen))


def by_hand(x: Any, resource: bool) -> Any:  # noqa: FBT001
    s = made("s", [6, UNITS], resource, value=0.5)
    out = tf.matmul(x, s)
    gradient = tf.gradients(tf.reduce_mean(out**2), s.read_value() if resource else s)
    if resource:
        gradient = tf.gradients(tf.reduce_mean(out**2), s)
    return after(tf.assign(s, s - 0.1 * gradient[0]), out)


def momentum_by_hand(x: Any, resource: bool) -> Any:  # noqa: FBT001
    s, m = made("s", [6, UNITS], resource, value=0.5), made("m", [6, UNITS], resource)
    out = tf.matmul(x, s)
    (gradient,) = tf.gradients(tf.reduce_mean(out**2), s)
    (clipped,), _ = tf.clip_by_global_norm([gradient], 1.0)
    return after(tf.assign_sub(s, 0.1 * tf.assign(m, 0.9 * m + clipped)), out)


def listed_by_hand(x: Any, resource: bool) -> Any:  # noqa: FBT001
    s = made("s", [6, UNITS], resource, trainable=True, value=0.5)
    out = tf.matmul(x, s)
    return after(tf.assign(s, s - 0.1 * tf.matmul(x, out, transpose_a=True)), out)


def unlisted_with_an_optimizer(x: Any, resource: bool) -> Any:  # noqa: FBT001
    s = made("s", [6, UNITS], resource, value=0.5)
    out = tf.matmul(x, s)
    tf.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_mean(out**2), var_list=[s])
    return out


def slot(x: Any, resource: bool) -> Any:  # noqa: FBT001
    out = tf.matmul(x, weight("w", [6, UNITS], resource))
    optimizer = tf.train.MomentumOptimizer(0.1, 0.9, name="s")
    optimizer.minimize(tf.reduce_mean(out**2))
    return out + tf.reduce_sum(optimizer.get_slot(tf.trainable_variables()[0], "momentum"))


def shadow(x: Any, resource: bool) -> Any:  # noqa: FBT001
    w, s = weight("w", [6, UNITS], resource), made("s", [6, UNITS], resource)
    return after(tf.assign_sub(s, (s - w) * 0.01), tf.matmul(x, s))


def counter(x: Any, resource: bool) -> Any:  # noqa: FBT001
    s = made("s", [], resource)
    return after(tf.assign(s, s + 1.0), features(x, resource) * (1.0 - 0.5**s))


def set_by_hand(x: Any, resource: bool) -> Any:  # noqa: FBT001
    s = made("s", [UNITS], resource)
    tf.assign(s, tf.placeholder(tf.float32, [UNITS], name="new_value"))
    return features(x, resource) + s


def recurrent(x: Any, resource: bool) -> Any:  # noqa: FBT001
    s = made("s", [2, UNITS], resource)
    new = tf.tanh(features(x, resource) + tf.matmul(s, weight("wh", [UNITS, UNITS], resource)))
    return after(tf.assign(s, new), new)


def recurrent_of_one(x: Any, resource: bool) -> Any:  # noqa: FBT001
    s = made("s", [UNITS], resource)
    new = tf.tanh(features(tf.reshape(x, [1, 6]), resource)[0] + s)
    return after(tf.assign(s, new), new[None])


def cells(x: Any, resource: bool) -> Any:  # noqa: FBT001
    c, s = made("c", [2, UNITS], resource), made("s", [2, UNITS], resource)
    gates = tf.concat([features(x, resource), s], 1)
    gate = tf.sigmoid(tf.matmul(gates, weight("wg", [2 * UNITS, UNITS], resource)))
    new_c = gate * c + (1 - gate) * tf.tanh(gates[:, :UNITS])
    new_h = tf.tanh(new_c) * gate
    with tf.control_dependencies([tf.assign(c, new_c)]):
        return after(tf.assign(s, tf.tanh(c.read_value())), new_h)


def leaky(x: Any, resource: bool) -> Any:  # noqa: FBT001
    s = made("s", [2, UNITS], resource)
    return after(tf.assign(s, 0.9 * s + 0.1 * features(x, resource)), s)


def leaky_of_one(x: Any, resource: bool) -> Any:  # noqa: FBT001
    s = made("s", [UNITS], resource)
    one = features(tf.reshape(x, [1, 6]), resource)
    return after(tf.assign(s, 0.9 * s + 0.1 * tf.reduce_mean(one, 0)), one + s)


def leaky_over_time(x: Any, resource: bool) -> Any:  # noqa: FBT001
    """The mean over the first axis is one over time: the batch comes second."""
    s = made("s", [2, UNITS], resource)
    steps = tf.transpose(tf.reshape(x, [2, 3, 2]), [1, 0, 2])
    h = tf.tensordot(steps, weight("w", [2, UNITS], resource), [[2], [0]])
    h = tf.transpose(tf.transpose(h, [1, 0, 2]), [1, 0, 2])
    return after(tf.assign_sub(s, (s - tf.reduce_mean(h, 0)) * 0.1), h[-1] + s)


def accumulated(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [UNITS], resource)
    return after(tf.assign_add(s, tf.reduce_sum(h, 0)), h + s)


def last_mean(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [UNITS], resource)
    return after(tf.assign(s, batch_mean(h)), h - s)


def last_peak(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [], resource, value=1.0)
    return after(tf.assign(s, tf.reduce_max(h)), h / s)


def peaks_of_each(x: Any, resource: bool) -> Any:  # noqa: FBT001
    s = made("s", [2, UNITS], resource)
    h = features(x, resource)
    return after(tf.assign(s, tf.maximum(s, h)), h + s)


def scattered(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [2, UNITS], resource)
    return after(tf.scatter_update(s, [0, 1], h), h + s)


def memory(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [7, UNITS], resource)
    place = tf.argmax(tf.matmul(h, s, transpose_b=True), 1)
    return after(tf.scatter_add(s, place, h), h + tf.nn.embedding_lookup(s, place))


def fast_weights(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [UNITS, UNITS], resource)
    update = tf.assign(s, 0.95 * s + 0.5 * tf.matmul(h, h, transpose_a=True))
    return after(update, h + tf.matmul(h, s))


def attended(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [7, UNITS], resource)
    weights = tf.nn.softmax(tf.matmul(h, s, transpose_b=True))
    written = tf.matmul(weights, h, transpose_a=True)
    return after(tf.assign(s, 0.9 * s + 0.1 * written), h + tf.matmul(weights, s))


def mixed_by_a_matrix(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [2, UNITS], resource)
    return after(tf.assign(s, 0.9 * s + 0.1 * tf.matmul(tf.eye(2), h)), h + s)


def under_a_condition(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [2, UNITS], resource)
    flag = tf.placeholder_with_default(True, [], name="keep")
    done = tf.cond(flag, lambda: tf.assign(s, h) + 0.0, lambda: tf.identity(s))
    return after(done, h + s)


def flag_by_the_input(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [], resource)
    value = tf.cond(tf.reduce_mean(h) > 0, lambda: tf.constant(1.0), lambda: tf.constant(0.0))
    return after(tf.assign(s, value), h + s)


def flag_set_under_a_condition(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [], resource)
    done = tf.cond(
        tf.reduce_mean(h) > 0,
        lambda: tf.assign(s, 1.0) + 0.0,
        lambda: tf.identity(s),
    )
    return after(done, h + s)


def carried_by_another(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h = features(x, resource)
    previous, s = made("previous", [2, UNITS], resource), made("s", [2, UNITS], resource)
    with tf.control_dependencies([tf.assign(s, previous)]):
        return after(tf.assign(previous, h), h + s)


def carried_by_a_loop(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [2, UNITS], resource)
    _, last = tf.while_loop(
        lambda i, _: i < 3, lambda i, one: (i + 1, tf.tanh(one + h)), [0, tf.zeros_like(h)]
    )
    return after(tf.assign(s, last), h + s)


def trainable_by_mistake(x: Any, resource: bool) -> Any:  # noqa: FBT001
    h, s = features(x, resource), made("s", [2, UNITS], resource, trainable=True)
    return after(tf.assign(s, h), h + s)


STORED: dict[str, tuple[Build, str]] = {
    "unfused batch norm": (unfused_norm, "AVERAGE"),
    "fused batch norm": (fused_norm, "AVERAGE"),
    "zero-debiased average": (debiased, "DERIVED"),
    "renorm": (renorm, "AVERAGE"),
    "images, batch of one": (image_norm_of_one, "AVERAGE"),
    "average while finite": (gated_norm, "AVERAGE"),
    "fake quant, moving": (moving_range, "AVERAGE"),
    "fake quant, last": (last_range, "EXTREMUM"),
    "range by hand": (range_by_hand, "EXTREMUM"),
    "range of weights": (range_of_weights, "INDEPENDENT"),
    "running extremum": (running_extremum, "EXTREMUM"),
    "spectral norm": (spectral, "INDEPENDENT"),
    "codebook": (codebook, "DERIVED"),
    "by hand": (by_hand, "TRAINED"),
    "momentum by hand": (momentum_by_hand, "TRAINED"),
    "listed, by hand": (listed_by_hand, "TRAINED"),
    "not listed, optimizer": (unlisted_with_an_optimizer, "TRAINED"),
    "shadow": (shadow, "SHADOW"),
    "counter": (counter, "INDEPENDENT"),
    "set by hand": (set_by_hand, "INDEPENDENT"),
    "trainable by mistake": (trainable_by_mistake, "TRAINED"),
}
STATE: dict[str, Build] = {
    "recurrent": recurrent,
    "recurrent, batch of one": recurrent_of_one,
    "two cells": cells,
    "leaky integrator": leaky,
    "leaky integrator, batch of one": leaky_of_one,
    "leaky integrator over time": leaky_over_time,
    "accumulating memory": accumulated,
    "mean of the last batch": last_mean,
    "peak of the last batch": last_peak,
    "peaks of each": peaks_of_each,
    "scattered": scattered,
    "scattered to places": memory,
    "fast weights": fast_weights,
    "attended memory": attended,
    "mixed by a matrix": mixed_by_a_matrix,
    "under a condition": under_a_condition,
    "flag by the input": flag_by_the_input,
    "flag set under a condition": flag_set_under_a_condition,
    "carried by another": carried_by_another,
    "carried by a loop": carried_by_a_loop,
}
# Their variable is assigned inside of a branch.
UNDER_A_CONDITION = frozenset(["under a condition", "flag set under a condition"])
