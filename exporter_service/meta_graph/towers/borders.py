"""Where a tower begins and ends: a placeholder in place of a port, and what an answer is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.graphs.preprocessing import preprocessed
from exporter_service.graphs.towers import tensor_spec
from exporter_service.meta_graph.detection.features import with_known_features
from exporter_service.meta_graph.detection.feeds import Feed
from exporter_service.meta_graph.reading.parameters import MetaGraphParameters
from exporter_service.meta_graph.rewriting.inference_graph import InferenceGraph
from exporter_service.meta_graph.towers.shapes import input_shape
from exporter_service.specs.conversion import ConversionSpec
from service_kit import errors
from service_kit.artifacts.manifest import Augmentation, Preprocessing, TensorSpec


def placeholder_of(
    name: str,
    feed: Feed,
    net: InferenceGraph,
    conversion_spec: ConversionSpec,
    parameters: MetaGraphParameters,
    preprocessing: Preprocessing,
    max_batch: int,
) -> tuple[Any, Any]:
    """Returns the placeholder of an input, and what the net takes of it.

    Raises:
        Unconvertible: its dtype or shape is not known, or preprocessing does not fit it.
    """
    if feed.dtype is None:
        raise errors.Unconvertible(
            f"{feed.port.tensor_name} is of an op that this TensorFlow does not have "
            f"({feed.kind}): choose a tensor behind it as input"
        )
    feed = with_known_features(net.graph, feed)
    shape = input_shape(name, feed, parameters.shapes, conversion_spec.towers)
    dtype = tf.as_dtype(feed.dtype)
    placeholder = tf.placeholder(
        tf.as_dtype(conversion_spec.towers.input_dtype)
        if conversion_spec.towers.input_dtype
        else dtype,
        [max_batch or None, *(None if size < 0 else size for size in shape[1:])],
        name=name,
    )
    changes = preprocessing.mean or preprocessing.scale
    if preprocessing.augmentation is Augmentation.TRAINING:
        raise errors.Unconvertible(
            "augmentation TRAINING is that of the recipe's images; a training graph brings its "
            "own: choose an input before it instead"
        )
    if changes and (len(net.cut) > 1 or not dtype.is_floating):
        raise errors.Unconvertible(
            "mean and scale are for one input of floats; this graph takes "
            + ", ".join(map(str, net.cut))
        )
    channels = shape[-1]
    wrong = [len(one) for one in (preprocessing.mean, preprocessing.scale) if one]
    if wrong and any(count != channels for count in wrong):
        raise errors.Unconvertible(
            f"mean and scale have {wrong[0]} numbers, the input's last dimension is {channels}"
        )
    return placeholder, preprocessed(placeholder, preprocessing, dtype)


def output_spec(name: str, tensor: Any, stated: Sequence[int] | None, *, whole: bool) -> TensorSpec:
    """Returns the description of an output; one that is answered whole needs no batch.

    Raises:
        Unconvertible: it cannot be answered with; says why.
    """
    if not whole and stated is not None and tensor.shape.is_compatible_with(_any_batch(stated)):
        # Python knew more than can be inferred; the proof runs it.
        tensor.set_shape(_any_batch(stated))
    if tensor.shape.rank is None or (tensor.shape.rank < 1 and not whole):
        raise errors.Unconvertible(
            f"output {name} has shape {tensor.shape}: an answer has the batch as its first "
            "dimension; choose another output"
        )
    if not (tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool):
        raise errors.Unconvertible(
            f"output {name} is {tensor.dtype.name}: only numbers can be answered with"
        )
    if whole:
        return tensor_spec(name, tensor)
    if tensor.shape[0] not in (None, 1):
        raise errors.Unconvertible(
            f"output {name} has shape {tensor.shape} whatever the batch: the graph is made for "
            "one size of batch, or the output belongs to no image; choose another output"
        )
    spec = tensor_spec(name, tensor)
    return TensorSpec(name, spec.tensor_name, spec.dtype, (-1, *spec.shape[1:]))


def _any_batch(stated: Sequence[int]) -> list[int | None]:
    return [None if size < 0 else size for size in stated]
