"""A small convolution net with batch norm in plain `tf.compat.v1`, as two architectures."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf
from pydantic import BaseModel, ConfigDict, Field

from exporter_service.architectures.plugin import Plugin
from service_kit.artifacts.manifest import Preprocessing


# --8<-- [start:function]
def tiny(
    images: Any, *, classes: int = 10, width: int = 32, blocks: tuple[int, ...] = (1, 2, 4)
) -> Any:
    """A small net: blocks of a convolution, batch norm, ReLU and pooling.

    The first line is what listings show. The keyword-only arguments are what requests can set.

    Args:
        images: float32 [batch, height, width, 3], preprocessed.
        classes: number of classes.
        width: filters of a block of size 1.
        blocks: size of each block, in widths.

    Returns:
        Logits, float32 [batch, classes]; pbserve adds the softmax.
    """
    with tf.variable_scope("tiny"):
        return _logits(_features(images, width, blocks), classes)


# --8<-- [end:function]


# --8<-- [start:plugin]
class EmbeddingParameters(BaseModel):
    """What requests can set of the other architecture."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    classes: int = Field(10, ge=1, description="Number of classes.")
    width: int = Field(32, ge=1, le=1024, description="Filters of the first block.")


def _tiny_embedding(images: Any, parameters: EmbeddingParameters) -> dict[str, Any]:
    # The same variables as `tiny`, so the same checkpoints fit.
    with tf.variable_scope("tiny"):
        features = _features(images, parameters.width, (1, 2, 4))
        logits = _logits(features, parameters.classes)
        return {
            "probs": tf.nn.softmax(logits, name="probs"),
            "embedding": tf.nn.l2_normalize(features, axis=1, name="embedding"),
        }


EMBEDDING = Plugin(
    build=_tiny_embedding,
    parameters=EmbeddingParameters,
    summary="The small net with its features, of length 1, as a second output.",
    image_size=(32, 32),
    preprocessing=Preprocessing(mean=(127.5,) * 3, scale=(1 / 127.5,) * 3),
)
# --8<-- [end:plugin]


def _features(net: Any, width: int, blocks: tuple[int, ...]) -> Any:
    for number, size in enumerate(blocks, start=1):
        with tf.variable_scope(f"block{number}"):
            net = _normalised(_convolution(net, width * size))
            net = tf.nn.max_pool2d(tf.nn.relu(net), 2, 2, "SAME")
    return tf.reduce_mean(net, [1, 2])


def _convolution(net: Any, filters: int) -> Any:
    weights = tf.get_variable("weights", [3, 3, int(net.shape[3]), filters])
    return tf.nn.conv2d(net, weights, strides=1, padding="SAME")


def _normalised(net: Any) -> Any:
    shape = [int(net.shape[3])]
    with tf.variable_scope("BatchNorm"):
        normalised, _, _ = tf.nn.fused_batch_norm(
            net,
            scale=tf.get_variable("gamma", shape, initializer=tf.ones_initializer()),
            offset=tf.get_variable("beta", shape, initializer=tf.zeros_initializer()),
            mean=tf.get_variable(
                "moving_mean", shape, initializer=tf.zeros_initializer(), trainable=False
            ),
            variance=tf.get_variable(
                "moving_variance", shape, initializer=tf.ones_initializer(), trainable=False
            ),
            epsilon=1e-3,
            is_training=False,
        )
    return normalised


def _logits(features: Any, classes: int) -> Any:
    with tf.variable_scope("logits"):
        weights = tf.get_variable("weights", [int(features.shape[1]), classes])
        biases = tf.get_variable("biases", [classes], initializer=tf.zeros_initializer())
        return tf.nn.bias_add(tf.matmul(features, weights), biases)
