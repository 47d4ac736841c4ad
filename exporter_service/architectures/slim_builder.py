"""Builds the nets of tf_slim for inference. Needs the extra `slim`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.architectures.legacy_keras import provide_legacy_keras
from exporter_service.architectures.slim_net import SlimNet, SlimParameters
from exporter_service.architectures.tracing import TracedBuilder


def slim_builder(name: str, net: SlimNet) -> TracedBuilder:
    """Returns the builder of the architecture `name`; its logits are [batch, classes]."""

    def build(images: Any, parameters: SlimParameters) -> Any:
        provide_legacy_keras()
        # Inside the builder: what fails here is reported as the net's own failure.
        import tf_slim

        module = import_module(f"tf_slim.nets.{net.module}")
        with tf_slim.arg_scope(getattr(module, net.arg_scope)()):
            logits, _ = getattr(module, net.name)(
                images, num_classes=parameters.classes, is_training=False, **net.options
            )
        # ResNets of tf_slim keep the two dimensions that they have pooled.
        return tf.squeeze(logits, [1, 2], name="SpatialSqueeze") if _is_map(logits) else logits

    return TracedBuilder(name, build)


def _is_map(logits: Any) -> bool:
    return bool(logits.shape.rank == 4)
