"""The recipe's training augmentation, inside the graph: each image is changed on its own.

All images of a batch are changed at once. The ops are TensorFlow's own where they take a batch
with one random number an image, and its formulas where they take one number for all.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

# Numbers of the recipe.
BRIGHTNESS = 0.1
LOWEST, HIGHEST = 0.7, 1.3


def augment(images: Any) -> Any:
    """Returns images with random flips, brightness, saturation and contrast, in this order.

    Args:
        images: float32 [batch, height, width, 3].

    Returns:
        float32 of the same shape; the same images give others on every call.
    """
    images = tf.image.random_flip_left_right(images)
    images = tf.image.random_flip_up_down(images)
    images = brighten(images, _one_an_image(images, -BRIGHTNESS, BRIGHTNESS))
    images = saturate(images, _one_an_image(images, LOWEST, HIGHEST))
    return adjust_contrast(images, _one_an_image(images, LOWEST, HIGHEST))


def brighten(images: Any, delta: Any) -> Any:
    """Adds `delta`, [batch, 1, 1, 1], as `tf.image.adjust_brightness` does to one image."""
    return tf.add(images, delta, name="brightness")


def saturate(images: Any, factor: Any) -> Any:
    """Multiplies the saturation by `factor`, as `tf.image.adjust_saturation` does to one image.

    The op of that name takes one factor for all; this is its formula in HSV.
    """
    hue, saturation, value = tf.unstack(tf.image.rgb_to_hsv(images), axis=-1)
    scaled = tf.clip_by_value(saturation * tf.squeeze(factor, -1), 0.0, 1.0)
    return tf.image.hsv_to_rgb(tf.stack([hue, scaled, value], axis=-1))


def adjust_contrast(images: Any, factor: Any) -> Any:
    """Scales the distance to each channel's mean, as `tf.image.adjust_contrast` does."""
    mean = tf.reduce_mean(images, [1, 2], keepdims=True)
    return tf.add((images - mean) * factor, mean, name="contrast")


def _one_an_image(images: Any, low: float, high: float) -> Any:
    return tf.random.uniform(tf.stack([tf.shape(images)[0], 1, 1, 1]), low, high)
