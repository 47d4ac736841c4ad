"""Towers of a checkpoint's own training graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.checkpoints.contents import StoredTensor
from exporter_service.graphs.preprocessing import preprocessed
from exporter_service.graphs.tower_graph import TowerGraph
from exporter_service.graphs.towers import INPUT, inside, tensor_spec
from exporter_service.meta_graph.detection.feeds import Feed
from exporter_service.meta_graph.reading.meta_file import malformed_named, read_meta
from exporter_service.meta_graph.reading.parameters import MetaGraphParameters, parse_parameters
from exporter_service.meta_graph.rewriting.evaluation_copy import find_evaluation_copy
from exporter_service.meta_graph.rewriting.to_inference import (
    DefaultNames,
    InferenceGraph,
    convert_to_inference,
)
from exporter_service.meta_graph.towers.replication import import_tower, import_variables
from exporter_service.meta_graph.towers.restoring import followers, plan_variables
from exporter_service.meta_graph.towers.shapes import input_shape
from exporter_service.specs.conversion import ConversionSpec
from exporter_service.specs.names import META_GRAPH
from exporter_service.specs.progress import Progress, Report, Step
from service_kit import errors
from service_kit.artifacts.manifest import (
    ArchitectureSpec,
    Augmentation,
    CutInput,
    MetaGraphReport,
    Preprocessing,
    TensorSpec,
    Tower,
)


def meta_graph_towers(
    conversion_spec: ConversionSpec, tensors: Mapping[str, StoredTensor], report: Report
) -> TowerGraph:
    """Switches the graph in the checkpoint's `.meta` to inference and builds its towers.

    Args:
        conversion_spec: what to build.
        tensors: the checkpoint's tensors, by the names that the spec's key map gives them.
        report: is told when building begins.

    Raises:
        MetaGraphUnusable: there is no `.meta`, or no graph in it; says which architectures fit.
        Unconvertible: it cannot be served; names the nodes.
        CheckpointMismatch: the checkpoint lacks variables that the outputs need.
        MovingAverageMissing: required averages are absent.
    """
    parameters = parse_parameters(conversion_spec.architecture.parameters)
    meta = read_meta(conversion_spec.checkpoint, tensors)
    report(
        Progress(
            Step.BUILD, f"{len(meta.graph_def.node)} nodes, {conversion_spec.towers.cards} card(s)"
        )
    )
    preprocessing = conversion_spec.preprocessing or Preprocessing()
    names = DefaultNames(
        conversion_spec.towers.input_name or INPUT, conversion_spec.towers.output_name
    )
    with malformed_named():
        net = convert_to_inference(meta, parameters, names)
        built = _towers(net, meta, tensors, conversion_spec, parameters, preprocessing)
        evaluation_copy = find_evaluation_copy(meta, net, parameters)
    if evaluation_copy is None:
        return built
    single = replace(
        conversion_spec,
        towers=replace(conversion_spec.towers, cards=1, image_size=None, input_dtype=""),
    )
    other = _towers(evaluation_copy, meta, tensors, single, parameters, preprocessing)
    meta_graph = built.meta_graph and replace(
        built.meta_graph, twin=evaluation_copy.outputs[0].tensor_name
    )
    return replace(built, evaluation_copy=other, meta_graph=meta_graph)


def _towers(
    net: InferenceGraph,
    meta: Any,
    tensors: Mapping[str, StoredTensor],
    conversion_spec: ConversionSpec,
    parameters: MetaGraphParameters,
    preprocessing: Preprocessing,
) -> TowerGraph:
    restoring = plan_variables(net, meta, tensors, conversion_spec)
    graph = tf.Graph()
    with graph.as_default():
        import_variables(net, restoring.shapes)
        towers = tuple(
            _tower(net, conversion_spec, parameters, preprocessing, index)
            for index in range(conversion_spec.towers.cards)
        )
    return TowerGraph(
        graph=graph,
        towers=towers,
        plan=restoring.plan,
        architecture=ArchitectureSpec(META_GRAPH, parameters.model_dump(mode="json")),
        preprocessing=preprocessing,
        pixels=False,
        part=restoring.part_of,
        statistics=net.statistics,
        meta_graph=MetaGraphReport(
            inputs=tuple(
                CutInput(name, feed.port.tensor_name, feed.kind, feed.upstream)
                for name, feed in zip(net.input_names, net.cut, strict=True)
            ),
            batch_norms_switched=net.batch_norms,
            dropouts_removed=net.dropouts,
            bound=net.bound,
            initial_states=net.initial_states,
            kept_stored=net.kept_stored,
        ),
        batch_matters=parameters.keep_batch_statistics,
        warnings=(*restoring.plan.warnings, *net.warnings, *followers(net)),
    )


def _tower(
    net: InferenceGraph,
    conversion_spec: ConversionSpec,
    parameters: MetaGraphParameters,
    preprocessing: Preprocessing,
    index: int,
) -> Tower:
    options = conversion_spec.towers
    scope, device = options.scope(index), options.device(index)
    fed, inputs = {}, []
    with inside(scope, device):
        for name, feed in zip(net.input_names, net.cut, strict=True):
            placeholder, value = _placeholder(
                name, feed, net, conversion_spec, parameters, preprocessing
            )
            fed[str(feed.port)] = value
            inputs.append(tensor_spec(name, placeholder))
        tensors = import_tower(net, fed, scope=scope, first=index == 0)
        outputs = [
            _output(name, tensor, whole=conversion_spec.unbatched)
            for name, tensor in zip(net.output_names, tensors, strict=True)
        ]
    return Tower(index, scope, device, tuple(inputs), tuple(outputs))


def _placeholder(
    name: str,
    feed: Feed,
    net: InferenceGraph,
    conversion_spec: ConversionSpec,
    parameters: MetaGraphParameters,
    preprocessing: Preprocessing,
) -> tuple[Any, Any]:
    """Returns the placeholder, and what the net takes of it."""
    if feed.dtype is None:
        raise errors.Unconvertible(
            f"{feed.port.tensor_name} is of an op that this TensorFlow does not have "
            f"({feed.kind}): choose a tensor behind it as input"
        )
    shape = input_shape(name, feed, parameters.shapes, conversion_spec.towers)
    dtype = tf.as_dtype(feed.dtype)
    placeholder = tf.placeholder(
        tf.as_dtype(conversion_spec.towers.input_dtype)
        if conversion_spec.towers.input_dtype
        else dtype,
        [None if size < 0 else size for size in shape],
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


def _output(name: str, tensor: Any, *, whole: bool) -> TensorSpec:
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
