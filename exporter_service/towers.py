"""The placeholder graph and the multi-tower graph: inputs, preprocessing, probabilities."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow.compat.v1 as tf

from service_kit.manifest import Preprocessing, TensorSpec, Tower

INPUT = "input"
PROBS = "probs"
_CHANNELS = 3


def build_towers(
    logits_of: Callable[[Any], Any],
    *,
    image_size: tuple[int, int],
    cards: int,
    device_kind: str,
    preprocessing: Preprocessing,
) -> tuple[Tower, ...]:
    """Adds the towers to the default graph and returns their description.

    One tower has the tensors `input:0` and `probs:0` and no device. Several lie in the scopes
    `Card_0`, `Card_1`, ..., each pinned to its device, and share every variable.

    Args:
        logits_of: adds the layers; from float32 [batch, height, width, 3] to float32
            [batch, classes]. Must reuse its variables from the second call on.
        image_size: height and width, in pixels.
        cards: number of towers, at least 1.
        device_kind: `gpu` or `cpu`.
        preprocessing: arithmetic on the images before `logits_of`.
    """
    towers = []
    for index in range(cards):
        scope = f"Card_{index}" if cards > 1 else ""
        device = f"/{device_kind}:{index}" if cards > 1 else ""
        with _inside(scope, device):
            images = tf.placeholder(tf.float32, [None, *image_size, _CHANNELS], name=INPUT)
            logits = logits_of(_preprocessed(images, preprocessing))
            probs = tf.nn.softmax(logits, name=PROBS)
        towers.append(Tower(index, scope, device, (_spec(INPUT, images),), (_spec(PROBS, probs),)))
    return tuple(towers)


@contextlib.contextmanager
def _inside(scope: str, device: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if device:
            stack.enter_context(tf.device(device))
        if scope:
            stack.enter_context(tf.name_scope(scope))
        yield


def _preprocessed(images: Any, preprocessing: Preprocessing) -> Any:
    if preprocessing.mean:
        images = tf.subtract(images, tf.constant(preprocessing.mean, tf.float32), name="sub")
    if preprocessing.scale:
        images = tf.multiply(images, tf.constant(preprocessing.scale, tf.float32), name="mul")
    return images


def _spec(name: str, tensor: Any) -> TensorSpec:
    shape = tuple(-1 if size is None else int(size) for size in tensor.shape.as_list())
    return TensorSpec(name, tensor.name, tensor.dtype.as_numpy_dtype.__name__, shape)
