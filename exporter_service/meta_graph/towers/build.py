"""Towers of a checkpoint's own training graph."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.checkpoints.contents import StoredTensor
from exporter_service.graphs.tower_graph import TowerGraph
from exporter_service.graphs.towers import INPUT, inside, tensor_spec
from exporter_service.meta_graph.reading.meta_file import malformed_named, read_meta
from exporter_service.meta_graph.reading.parameters import MetaGraphParameters, parse_parameters
from exporter_service.meta_graph.rewriting.evaluation_copy import find_evaluation_copy
from exporter_service.meta_graph.rewriting.inference_graph import InferenceGraph
from exporter_service.meta_graph.rewriting.to_inference import DefaultNames, convert_to_inference
from exporter_service.meta_graph.towers.borders import output_spec, placeholder_of
from exporter_service.meta_graph.towers.replication import import_tower, import_variables
from exporter_service.meta_graph.towers.restoring import followers, plan_variables
from exporter_service.specs.conversion import ConversionSpec
from exporter_service.specs.names import META_GRAPH
from exporter_service.specs.progress import Progress, Report, Step
from service_kit import errors
from service_kit.artifacts.manifest import (
    ArchitectureSpec,
    CutInput,
    MetaGraphReport,
    Preprocessing,
    Tower,
)


def meta_graph_towers(
    conversion_spec: ConversionSpec,
    tensors: Mapping[str, StoredTensor],
    report: Report,
    takes_any_batch: Callable[[TowerGraph], bool],
) -> TowerGraph:
    """Switches the graph in the checkpoint's `.meta` to inference and builds its towers.

    A graph that is made for a batch of one is made to take any; where that does not work, it stays
    as it is.

    Args:
        conversion_spec: what to build.
        tensors: the checkpoint's tensors, by the names that the spec's key map gives them.
        report: is told when building begins.
        takes_any_batch: tries whether towers that were made for a batch of one take others.

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
    with malformed_named():
        building = _Building(meta, tensors, conversion_spec, parameters)
        return building.towers(takes_any_batch)


@dataclass(frozen=True, slots=True)
class _Building:
    """Towers of one training graph, for any size of batch or for one image at a time."""

    meta: Any
    tensors: Mapping[str, StoredTensor]
    conversion_spec: ConversionSpec
    parameters: MetaGraphParameters

    def towers(self, takes_any_batch: Callable[[TowerGraph], bool]) -> TowerGraph:
        """Returns the towers, beside an evaluation copy if there is one."""
        net = self._net(free=True)
        if not any(feed.shape and feed.shape[0] == 1 for feed in net.cut):
            return self._built(net)
        # What is answered whole would speak of one of the images alone.
        if not (self.conversion_spec.unbatched or self.parameters.keep_dropout):
            with contextlib.suppress(errors.Unconvertible):
                built = self._built(net)
                if takes_any_batch(built):
                    return built
        return self._built(self._net(free=False), max_batch=1)

    def _built(self, net: InferenceGraph, max_batch: int = 0) -> TowerGraph:
        options, preprocessing = self.conversion_spec.towers, self._preprocessing
        built = _towers(
            net, self.meta, self.tensors, self.conversion_spec, self.parameters, preprocessing,
            max_batch,
        )  # fmt: skip
        evaluation_copy = find_evaluation_copy(self.meta, net, self.parameters)
        if evaluation_copy is None:
            return built
        single = replace(
            self.conversion_spec,
            towers=replace(options, cards=1, image_size=None, input_dtype=""),
        )
        other = _towers(
            evaluation_copy, self.meta, self.tensors, single, self.parameters, preprocessing,
            max_batch,
        )  # fmt: skip
        meta_graph = built.meta_graph and replace(
            built.meta_graph, twin=evaluation_copy.outputs[0].tensor_name
        )
        return replace(built, evaluation_copy=other, meta_graph=meta_graph)

    def _net(self, *, free: bool) -> InferenceGraph:
        options = self.conversion_spec.towers
        names = DefaultNames(options.input_name or INPUT, options.output_name)
        return convert_to_inference(self.meta, self.parameters, names, free=free)

    @property
    def _preprocessing(self) -> Preprocessing:
        return self.conversion_spec.preprocessing or Preprocessing()


def _towers(
    net: InferenceGraph,
    meta: Any,
    tensors: Mapping[str, StoredTensor],
    conversion_spec: ConversionSpec,
    parameters: MetaGraphParameters,
    preprocessing: Preprocessing,
    max_batch: int,
) -> TowerGraph:
    restoring = plan_variables(net, meta, tensors, conversion_spec)
    graph = tf.Graph()
    with graph.as_default():
        import_variables(net, restoring.shapes)
        towers = tuple(
            _tower(net, conversion_spec, parameters, preprocessing, index, max_batch)
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
        max_batch=max_batch,
        warnings=(*restoring.plan.warnings, *net.warnings, *followers(net)),
    )


def _tower(
    net: InferenceGraph,
    conversion_spec: ConversionSpec,
    parameters: MetaGraphParameters,
    preprocessing: Preprocessing,
    index: int,
    max_batch: int,
) -> Tower:
    options = conversion_spec.towers
    scope, device = options.scope(index), options.device(index)
    fed, inputs = {}, []
    with inside(scope, device):
        for name, feed in zip(net.input_names, net.cut, strict=True):
            placeholder, value = placeholder_of(
                name, feed, net, conversion_spec, parameters, preprocessing, max_batch
            )
            fed[str(feed.port)] = value
            spec = tensor_spec(name, placeholder)
            inputs.append(replace(spec, shape=(-1, *spec.shape[1:])))
        tensors = import_tower(net, fed, scope=scope, first=index == 0)
        outputs = [
            output_spec(name, tensor, stated, whole=conversion_spec.unbatched)
            for name, tensor, stated in zip(
                net.output_names, tensors, net.output_shapes, strict=True
            )
        ]
    return Tower(index, scope, device, tuple(inputs), tuple(outputs))
