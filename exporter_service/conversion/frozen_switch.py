"""A frozen graph is switched to inference: bindings, phases, dropouts, shapes, size of batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.conversion.frozen_towers import find_towers
from exporter_service.meta_graph.detection.feeds import PLACEHOLDERS, described
from exporter_service.meta_graph.detection.leftovers import refuse_everywhere, refuse_leftovers
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.parameters import FrozenGraphParameters
from exporter_service.meta_graph.reading.tensor_names import parse_name
from exporter_service.meta_graph.rewriting import bindings
from exporter_service.meta_graph.rewriting.dropout import keep_dropouts, remove_dropouts
from exporter_service.meta_graph.rewriting.fixed_batch import free_batch
from exporter_service.meta_graph.rewriting.phases import bind_defaults
from exporter_service.meta_graph.rewriting.pruning import needed, pruned
from exporter_service.meta_graph.rewriting.to_inference import resolve
from exporter_service.meta_graph.towers.shapes import sizes_agree
from exporter_service.specs.conversion import AdoptionRequest
from service_kit import errors


@dataclass(frozen=True, slots=True)
class FrozenTower:
    """A tower by the scope that it lies in (empty: none), and its ports."""

    scope: str
    inputs: Sequence[Port]
    outputs: Sequence[Port]


@dataclass(frozen=True, slots=True)
class FrozenGraph:
    """A frozen graph that can be served.

    Attributes:
        definition: the GraphDef.
        towers: where its towers are.
        bound: placeholder or flag -> value that it has for good.
        dropouts: number of dropouts taken out.
        noise: the random nodes of dropouts that were kept.
        is_changed: whether it is another graph than the file's.
    """

    definition: Any
    towers: Sequence[FrozenTower]
    bound: Mapping[str, str]
    dropouts: int
    noise: AbstractSet[str]
    is_changed: bool


def switch_to_inference(
    definition: Any, request: AdoptionRequest, parameters: FrozenGraphParameters
) -> FrozenGraph:
    """Finds the towers of a frozen graph, and takes out of it what belongs to training.

    A graph in which there is nothing to change stays as it is, in every byte.

    Args:
        definition: the GraphDef; it is not changed.
        request: names inputs and outputs.
        parameters: what the user chose.

    Raises:
        Unconvertible: it has no obvious inputs or outputs, or holds what cannot be served.
    """
    copied = type(definition)()
    copied.CopyFrom(definition)
    graph = NodeGraph(copied)
    bound = bindings.bind(graph, parameters.bindings)
    towers, dropouts, kept = [], 0, set[str]()
    for scope, inputs, outputs in find_towers(graph, request):
        cut = {port for port in inputs if request.inputs or not _is_setting(graph, port)}
        bound |= resolve(graph, outputs, cut)
        forward = graph.ancestors(outputs, stop=cut.__contains__)
        if parameters.keep_dropout:
            kept |= {one.noise for one in keep_dropouts(graph, forward)}
        removed = [] if parameters.keep_dropout else remove_dropouts(graph, forward)
        dropouts += len(removed)
        bound |= bindings.bind_rates(
            graph, graph.ancestors(outputs, stop=cut.__contains__), removed
        )
        forward = graph.ancestors(outputs, stop=cut.__contains__)
        bound |= bind_defaults(graph, forward, {port.node for port in cut})
        towers.append(FrozenTower(scope, _reached(graph, inputs, cut, outputs, request), outputs))
    shaped = _give_shapes(graph, towers, request, parameters)
    changed = bool(bound or dropouts or shaped or kept)
    if not changed:
        graph = NodeGraph(definition)
        refuse_everywhere(graph)
    small = _cut_down(graph, towers, kept)
    return FrozenGraph(
        small.definition if changed else definition, towers, bound, dropouts, kept, changed
    )


def free_frozen(frozen: FrozenGraph) -> FrozenGraph:
    """Returns a graph that is made for one size of batch as one that may take any."""
    graph = _cut_down(NodeGraph(frozen.definition), frozen.towers, frozen.noise)
    for tower in frozen.towers:
        port = tower.inputs[0]
        size = (described(graph, port).shape or (-1,))[0]
        names = needed(graph, tower.outputs, set(tower.inputs))
        if size > 0:
            free_batch(graph, names, port, size)
        for one in tower.inputs:
            shape = described(graph, one).shape
            if shape and shape[0] > 0 and graph.op(one) in PLACEHOLDERS:
                graph.node(one).attr["shape"].shape.dim[0].size = -1
    return replace(frozen, definition=graph.definition, is_changed=True)


def batch_sizes(frozen: FrozenGraph) -> set[int]:
    """Returns the sizes of batch that the graph's inputs are made for; empty: any."""
    graph = NodeGraph(frozen.definition)
    shapes = [described(graph, port).shape for tower in frozen.towers for port in tower.inputs]
    return {shape[0] for shape in shapes if shape and shape[0] > 0}


def _is_setting(graph: NodeGraph, port: Port) -> bool:
    """Whether a placeholder is a rate or a flag, by its shape and type."""
    feed = described(graph, port)
    return feed.shape == () or (feed.shape is None and feed.dtype == "bool")


def _reached(
    graph: NodeGraph,
    inputs: Sequence[Port],
    cut: set[Port],
    outputs: Sequence[Port],
    request: AdoptionRequest,
) -> list[Port]:
    """Returns the inputs that the outputs still depend on."""
    taken: set[Port] = set()

    def stop(port: Port) -> bool:
        taken.update({port} & cut)
        return port in cut

    forward = graph.ancestors(outputs, stop=stop)
    left = [port.node for port in inputs if port.node in forward and port not in cut]
    if left:
        raise errors.Unconvertible(
            f"give {left[0]} a value with --bind {left[0]}=VALUE: it is a single number, without a "
            "batch, and the outputs depend on it"
        )
    if request.inputs:
        return list(inputs)
    found = [port for port in inputs if port in taken]
    if not found:
        raise errors.Unconvertible("nothing depends on the graph's placeholders: name its inputs")
    return found


def _give_shapes(
    graph: NodeGraph,
    towers: Sequence[FrozenTower],
    request: AdoptionRequest,
    parameters: FrozenGraphParameters,
) -> bool:
    """Turns inputs whose shape is given into placeholders of that shape; whether any was."""
    left = dict(parameters.shapes)
    for tower in towers:
        aliases = [parse_name(text)[0] for text in request.inputs] or [""] * len(tower.inputs)
        for alias, port in zip(aliases, tower.inputs, strict=True):
            inner = port.node.removeprefix(f"{tower.scope}/")
            for name in (alias, port.node, port.tensor_name, inner, f"{inner}:{port.number}"):
                if name in parameters.shapes:
                    left.pop(name, None)
                    _give_shape(graph, port, parameters.shapes[name])
    if left:
        raise errors.Unconvertible(
            f"name an input as one of the shapes, {', '.join(map(str, towers[0].inputs))}: "
            f"{next(iter(left))} is none"
        )
    return bool(parameters.shapes)


def _give_shape(graph: NodeGraph, port: Port, shape: Sequence[int]) -> None:
    feed = described(graph, port)
    known = feed.shape
    if known is not None and not sizes_agree(known[1:], shape[1:]):
        raise errors.Unconvertible(
            f"{port.tensor_name} is {list(known)} in the graph, and cannot be {list(shape)}"
        )
    _become_placeholder(graph, port, shape)


def _become_placeholder(graph: NodeGraph, port: Port, shape: Sequence[int] | None) -> None:
    feed = described(graph, port)
    if feed.dtype is None or port.number:
        raise errors.Unconvertible(
            f"choose an input behind {port.tensor_name}, which cannot become a placeholder"
        )
    node = graph.node(port)
    node.op = "Placeholder"
    del node.input[:]
    node.attr.clear()
    node.attr["dtype"].type = tf.as_dtype(feed.dtype).as_datatype_enum
    sizes = None if shape is None else [None if size < 0 else size for size in shape]
    node.attr["shape"].shape.CopyFrom(tf.TensorShape(sizes).as_proto())


def _cut_down(
    graph: NodeGraph, towers: Sequence[FrozenTower], noise: AbstractSet[str]
) -> NodeGraph:
    """Returns the nodes of the towers alone, where they were pinned to."""
    outputs = [port for tower in towers for port in tower.outputs]
    inputs = {port for tower in towers for port in tower.inputs}
    small = pruned(graph, outputs, {port for port in inputs if port not in outputs})
    refuse_leftovers(small, noise)
    for port in sorted(inputs):
        if port.node not in small.nodes:
            if graph.op(port) not in PLACEHOLDERS:
                _become_placeholder(graph, port, described(graph, port).shape)
            small.definition.node.add().CopyFrom(graph.nodes[port.node])
    small = NodeGraph(small.definition)
    for name, node in small.nodes.items():
        node.device = graph.nodes[name].device
    return small
