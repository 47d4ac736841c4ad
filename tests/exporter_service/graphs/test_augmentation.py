from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from exporter_service.graphs import augmentation

IMAGES = np.random.default_rng(4).uniform(0, 255, (6, 8, 8, 3)).astype(np.float32)


def run(tensor: Any) -> Any:
    with tf.Session() as session:
        return session.run(tensor)


def per_image(factors: np.ndarray) -> Any:
    return tf.constant(factors.reshape(-1, 1, 1, 1), tf.float32)


def test_each_formula_is_that_of_tensorflows_op_for_one_image() -> None:
    factors = np.linspace(0.7, 1.3, 6)
    deltas = np.linspace(-0.1, 0.1, 6)
    with tf.Graph().as_default():
        ours = run(
            [
                augmentation.brighten(tf.constant(IMAGES), per_image(deltas)),
                augmentation.saturate(tf.constant(IMAGES), per_image(factors)),
                augmentation.adjust_contrast(tf.constant(IMAGES), per_image(factors)),
            ]
        )
        theirs = run(
            [
                tf.stack([op(image, value) for image, value in zip(IMAGES, values, strict=True)])
                for op, values in (
                    (tf.image.adjust_brightness, deltas),
                    (tf.image.adjust_saturation, factors),
                    (tf.image.adjust_contrast, factors),
                )
            ]
        )
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_every_image_of_a_batch_is_changed_on_its_own_and_anew() -> None:
    same = np.repeat(IMAGES[:1], 64, axis=0)
    with tf.Graph().as_default(), tf.Session() as session:
        changed = augmentation.augment(tf.constant(same))
        first, second = session.run(changed), session.run(changed)
    assert len({image.tobytes() for image in first}) == 64
    assert not np.array_equal(first, second)
    assert first.shape == same.shape


def test_flips_and_ranges_are_the_recipes() -> None:
    """Uniform factors and fair flips: seen in what they do to an image of one bright corner."""
    count = 4000
    image = np.zeros((1, 4, 4, 3), np.float32)
    image[0, 0, 0] = 100
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.constant(np.repeat(image, count, axis=0))
        changed = session.run(augmentation.augment(images))
    corners = changed[:, [0, 0, 3, 3], [0, 3, 0, 3], 0].argmax(axis=1)
    shares = np.bincount(corners, minlength=4) / count
    np.testing.assert_allclose(shares, 0.25, atol=0.04)
    # Brightness moves the mean of an image and nothing else does, saturation of a grey image
    # included: contrast keeps it.
    moved = changed.mean(axis=(1, 2, 3)) - image.mean()
    assert -0.101 < moved.min() < -0.095
    assert 0.095 < moved.max() < 0.101
    # Contrast scales the distance of the brightest pixel to the mean.
    factors = (changed.max(axis=(1, 2, 3)) - changed.mean(axis=(1, 2, 3))) / (100 - image.mean())
    assert 0.699 < factors.min() < 0.71
    assert 1.29 < factors.max() < 1.301
