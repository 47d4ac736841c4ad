"""What the graph does to images before the net: cast, augmentation, mean, scale."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.graphs.augmentation import augment
from service_kit.artifacts.manifest import Augmentation, Preprocessing

# The node behind the augmentation, in the tower's scope.
AUGMENTED = "augmented"


def preprocessed(images: Any, preprocessing: Preprocessing, dtype: Any = tf.float32) -> Any:
    """Returns `(images - mean) * scale`, cast to `dtype` and augmented before.

    Args:
        images: [batch, height, width, channels], of any number type.
        preprocessing: mean and scale, one number a channel, or none.
        dtype: of the result.
    """
    if images.dtype != dtype:
        images = tf.cast(images, dtype, name="cast")
    if preprocessing.augmentation is Augmentation.TRAINING:
        images = tf.identity(augment(images), name=AUGMENTED)
    if preprocessing.mean:
        images = tf.subtract(images, tf.constant(preprocessing.mean, dtype), name="sub")
    if preprocessing.scale:
        images = tf.multiply(images, tf.constant(preprocessing.scale, dtype), name="mul")
    return images
