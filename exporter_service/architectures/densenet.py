"""DenseNet in plain `tf.compat.v1` ops.

Names of variables and ops follow the published slim DenseNet family, so its checkpoints and
frozen graphs look familiar. `densenet_plan` has the parameters and the same variables on
paper; a test holds the two together.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.architectures.densenet_plan import (
    BOTTLENECK,
    DenseNetParameters,
    transition_filters,
)

# Numbers of the published family (slim's densenet_arg_scope).
_EPSILON = 1.1e-5
_DECAY = 0.99
_WEIGHT_DECAY = 1e-4


def inference_logits(images: Any, parameters: DenseNetParameters) -> Any:
    """Adds the net for inference and returns its logits; see `densenet`."""
    return densenet(images, parameters, training=False, reuse=tf.AUTO_REUSE)


def densenet(
    images: Any, parameters: DenseNetParameters, *, training: bool, reuse: Any = None
) -> Any:
    """Adds a DenseNet to the default graph.

    Args:
        images: float32 [batch, height, width, 3], preprocessed.
        parameters: the net's size, scope and layout.
        training: normalise by batch statistics, drop units, and collect what a trainer needs:
            updates of the moving statistics in UPDATE_OPS, weight decay in
            REGULARIZATION_LOSSES.
        reuse: as in `tf.compat.v1.variable_scope`.

    Returns:
        Logits, float32 [batch, classes].
    """
    net = _DenseNet(parameters, training=training)
    with tf.variable_scope(parameters.scope, reuse=reuse):
        return net.logits(images)


class _DenseNet:
    def __init__(self, parameters: DenseNetParameters, *, training: bool) -> None:
        self._parameters = parameters
        self._training = training
        self._format = parameters.data_format
        self._channels_last = parameters.data_format == "NHWC"

    def logits(self, images: Any) -> Any:
        parameters = self._parameters
        net = images if self._channels_last else tf.transpose(images, [0, 3, 1, 2])
        filters = parameters.initial_filters
        net = self._convolution(net, "conv1", 7, filters, stride=2)
        net = self._normalise(net)
        net = self._pool(tf.nn.max_pool2d, net, 3, "SAME")
        for block, layers in enumerate(parameters.layers, start=1):
            with tf.variable_scope(f"dense_block{block}"):
                for layer in range(1, layers + 1):
                    net = self._layer(net, layer)
            filters += layers * parameters.growth_rate
            if block < len(parameters.layers):
                filters = transition_filters(filters, parameters.reduction)
                with tf.variable_scope(f"transition_block{block}"):
                    net = self._unit(net, "blk", 1, filters)
                    net = self._pool(tf.nn.avg_pool2d, net, 2, "VALID")
        with tf.variable_scope("final_block"):
            net = self._normalise(net)
            net = self._spatial_mean(net, "global_avg_pool", keepdims=True)
        net = self._convolution(net, "logits", 1, parameters.classes, bias=True)
        return self._spatial_mean(net, "Mean", keepdims=False)

    def _layer(self, net: Any, number: int) -> Any:
        growth = self._parameters.growth_rate
        with tf.variable_scope(f"conv_block{number}"):
            grown = self._unit(net, "x1", 1, BOTTLENECK * growth)
            grown = self._unit(grown, "x2", 3, growth)
            return tf.concat([net, grown], axis=3 if self._channels_last else 1, name="concat")

    def _unit(self, net: Any, scope: str, kernel: int, filters: int) -> Any:
        with tf.variable_scope(scope):
            net = self._normalise(net)
            net = self._convolution(net, "Conv", kernel, filters)
            if self._training and self._parameters.dropout_rate:
                net = tf.nn.dropout(net, rate=self._parameters.dropout_rate)
            return net

    def _normalise(self, net: Any) -> Any:
        """Batch norm and ReLU."""
        with tf.variable_scope("BatchNorm"):
            shape = [int(net.shape[3 if self._channels_last else 1])]
            beta = _variable("beta", shape, tf.zeros_initializer())
            gamma = _variable("gamma", shape, tf.ones_initializer())
            mean = _variable("moving_mean", shape, tf.zeros_initializer(), trainable=False)
            variance = _variable("moving_variance", shape, tf.ones_initializer(), trainable=False)
            normalised, batch_mean, batch_variance = tf.nn.fused_batch_norm(
                net,
                gamma,
                beta,
                mean=None if self._training else mean,
                variance=None if self._training else variance,
                epsilon=_EPSILON,
                data_format=self._format,
                is_training=self._training,
                name="FusedBatchNormV3",
            )
            if self._training:
                for moving, value in ((mean, batch_mean), (variance, batch_variance)):
                    update = tf.assign_sub(moving, (moving - value) * (1 - _DECAY))
                    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        return tf.nn.relu(normalised, name="Relu")

    def _convolution(
        self,
        net: Any,
        scope: str,
        kernel: int,
        filters: int,
        *,
        stride: int = 1,
        bias: bool = False,
    ) -> Any:
        with tf.variable_scope(scope):
            channels = int(net.shape[3 if self._channels_last else 1])
            weights = _variable(
                "weights",
                [kernel, kernel, channels, filters],
                # Inference restores every value, and zeros cost a fraction of the nodes.
                tf.glorot_uniform_initializer() if self._training else tf.zeros_initializer(),
                weight_decay=self._training,
            )
            net = tf.nn.conv2d(
                net,
                weights,
                strides=self._spatial(stride),
                padding="SAME",
                data_format=self._format,
                name="Conv2D",
            )
            if bias:
                biases = _variable("biases", [filters], tf.zeros_initializer())
                net = tf.nn.bias_add(net, biases, data_format=self._format, name="BiasAdd")
            return net

    def _pool(self, pool: Any, net: Any, kernel: int, padding: str) -> Any:
        window, strides = self._spatial(kernel), self._spatial(2)
        return pool(net, window, strides, padding, data_format=self._format)

    def _spatial_mean(self, net: Any, name: str, *, keepdims: bool) -> Any:
        axes = [1, 2] if self._channels_last else [2, 3]
        return tf.reduce_mean(net, axes, keepdims=keepdims, name=name)

    def _spatial(self, size: int) -> list[int]:
        return [1, size, size, 1] if self._channels_last else [1, 1, size, size]


def _variable(
    name: str,
    shape: list[int],
    initializer: Any,
    *,
    trainable: bool = True,
    weight_decay: bool = False,
) -> Any:
    # Reference variables, as TensorFlow 1 made them: freezing turns each into one constant.
    variable = tf.get_variable(
        name,
        shape,
        tf.float32,
        initializer=initializer,
        trainable=trainable,
        collections=[tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.MODEL_VARIABLES],
        use_resource=False,
    )
    if weight_decay:
        loss = tf.multiply(tf.nn.l2_loss(variable), _WEIGHT_DECAY, name=f"{name}_decay")
        tf.add_to_collection(tf.GraphKeys.REGULARIZATION_LOSSES, loss)
    return variable
