"""A training graph becomes an inference graph: the order of the operations.

The protos alone are worked on; nothing is imported until the result is small and pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from exporter_service.checkpoints.key_list import counted
from exporter_service.meta_graph.detection.batch_statistics import batch_statistics
from exporter_service.meta_graph.detection.feeds import FEEDS, Feed, find_feeds
from exporter_service.meta_graph.detection.heads import find_heads, obvious_head
from exporter_service.meta_graph.detection.hidden_flow import refuse_hidden_flow
from exporter_service.meta_graph.detection.leftovers import refuse_leftovers, refuse_unknown
from exporter_service.meta_graph.detection.moving_updates import moving_updates, shadows
from exporter_service.meta_graph.reading.inlining import inline_calls
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import stated_shape
from exporter_service.meta_graph.reading.parameters import MetaGraphParameters
from exporter_service.meta_graph.reading.tensor_names import find_port, parse_name, semantic_names
from exporter_service.meta_graph.reading.variables import trainable_names
from exporter_service.meta_graph.rewriting import bindings
from exporter_service.meta_graph.rewriting.batch_norm import (
    Switched,
    switch_batch_norms,
    training_forward,
)
from exporter_service.meta_graph.rewriting.conditions import fold_conditions
from exporter_service.meta_graph.rewriting.constant_folding import fold_shapes
from exporter_service.meta_graph.rewriting.dropout import keep_dropouts, remove_dropouts
from exporter_service.meta_graph.rewriting.fixed_batch import free_batch_of
from exporter_service.meta_graph.rewriting.inference_graph import InferenceGraph
from exporter_service.meta_graph.rewriting.initial_state import begin_anew, follow_batch
from exporter_service.meta_graph.rewriting.phases import bind_defaults, bind_phases
from exporter_service.meta_graph.rewriting.pruning import needed, pruned
from exporter_service.meta_graph.rewriting.settling import refuse_state, settle
from service_kit import errors

_MAX_ROUNDS = 64


@dataclass(frozen=True, slots=True)
class DefaultNames:
    """Names of a single input and a single output without an alias."""

    input: str = "input"
    output: str = ""


def convert_to_inference(
    meta: Any, parameters: MetaGraphParameters, names: DefaultNames, *, free: bool = True
) -> InferenceGraph:
    """Returns the inference graph of a training graph.

    Args:
        meta: the MetaGraphDef; it is not changed.
        parameters: what the user chose.
        names: of a single input and output.
        free: whether a net that is made for one size of batch shall take any.

    Raises:
        Unconvertible: there is no obvious input or output, something cannot be switched, or
            something that cannot be served still reaches an output; the nodes are named.
    """
    definition = type(meta.graph_def)()
    definition.CopyFrom(meta.graph_def)
    graph = NodeGraph(definition)
    aliases, outputs = _outputs(graph, parameters, trainable_names(meta))
    input_aliases, chosen = _named(graph, parameters.inputs, "input")
    cut = set(chosen)
    bound = bindings.bind(graph, parameters.bindings)
    bound |= resolve(graph, outputs, cut)

    settled = settle(graph, meta, outputs, cut, parameters)
    forward = training_forward(graph, outputs, cut)
    updates = moving_updates(graph, forward)
    fed = graph.dependents_of_nodes(graph.of_op(*FEEDS)) | graph.dependents(cut)
    trained = {update.variable for update in updates} | trainable_names(meta) | settled.stored
    refuse_hidden_flow(graph, forward, fed, trained)
    initial = begin_anew(graph, meta, forward.intersection(settled.anew))
    switched = Switched()
    if not parameters.keep_batch_statistics:
        switched = switch_batch_norms(graph, forward, fed, updates)
    forward = graph.ancestors(outputs, stop=cut.__contains__)
    kept = keep_dropouts(graph, forward) if parameters.keep_dropout else []
    dropouts = [] if kept else remove_dropouts(graph, forward)
    forward = graph.ancestors(outputs, stop=cut.__contains__)
    bound |= bindings.bind_rates(graph, forward, dropouts)
    bound |= bind_defaults(graph, forward, {port.node for port in cut})
    refuse_unknown(graph, training_forward(graph, outputs, cut))
    refuse_state(settled, forward, switched.statistics)

    feeds = _inputs(graph, outputs, chosen)
    cut = {feed.port for feed in feeds}
    forward = graph.ancestors(outputs, stop=cut.__contains__)
    if not parameters.keep_batch_statistics:
        _refuse_batch_statistics(graph, forward, feeds, switched)
    follow_batch(graph, initial, settled.decisions, feeds[0])
    freed = free_batch_of(graph, outputs, feeds) if free else []
    small = pruned(graph, outputs, cut)
    refuse_leftovers(small, {one.noise for one in kept})
    stated = tuple(_stated(graph, port, feeds) for port in outputs)
    fold_shapes(small)
    return InferenceGraph(
        graph=small,
        cut=tuple(feeds),
        input_names=tuple(
            semantic_names(input_aliases or [""] * len(feeds), list(cut_ports(feeds)), names.input)
        ),
        outputs=tuple(outputs),
        output_shapes=stated,
        output_names=tuple(
            semantic_names(aliases, outputs, names.output or _sole_name(graph, outputs[0]))
        ),
        averages_of=shadows(graph, updates),
        statistics=frozenset(switched.statistics),
        roles={name: one.role.value for name, one in settled.decisions.items()},
        initial_states=tuple(sorted(initial)),
        kept_stored=settled.kept,
        batch_norms=len(switched.fused) + len(switched.unfused),
        dropouts=len(dropouts),
        bound=bound,
        warnings=(*_warnings(parameters, freed), *switched.ambiguous),
    )


def _stated(graph: NodeGraph, port: Port, feeds: Sequence[Feed]) -> tuple[int, ...] | None:
    """Returns the shape that the training graph states for an output, for any batch."""
    shape = stated_shape(graph.node(port), port.number)
    if not shape or port in cut_ports(feeds):
        return None
    return (-1, *shape[1:])


def cut_ports(feeds: Sequence[Feed]) -> tuple[Port, ...]:
    """Returns the ports of some feeds."""
    return tuple(feed.port for feed in feeds)


def _sole_name(graph: NodeGraph, port: Port) -> str:
    return "probs" if graph.op(port) == "Softmax" else port.node.rpartition("/")[2]


def _outputs(
    graph: NodeGraph, parameters: MetaGraphParameters, trainable: frozenset[str]
) -> tuple[list[str], list[Port]]:
    if parameters.outputs:
        return _named(graph, parameters.outputs, "output")
    heads = find_heads(graph, trainable)
    head = obvious_head(heads)
    if head is not None:
        return [""], [head.port]
    listed = counted([str(one) for one in heads])
    raise errors.Unconvertible(
        f"which tensor is the answer? Name it as an output; candidates, best first: {listed}"
        if heads
        else "the graph has no softmax, sigmoid or logits that depend on an input and on "
        "variables: name the output"
    )


def _named(graph: NodeGraph, texts: Sequence[str], what: str) -> tuple[list[str], list[Port]]:
    parsed = [parse_name(text) for text in texts]
    ports = [find_port(graph, port, what) for _, port in parsed]
    if len(set(ports)) != len(ports):
        raise errors.Unconvertible(f"a tensor is named twice as {what}: {', '.join(texts)}")
    return [alias for alias, _ in parsed], ports


def resolve(graph: NodeGraph, outputs: Sequence[Port], cut: AbstractSet[Port]) -> dict[str, str]:
    """Binds phases, inlines calls and folds conditions, in place, until nothing changes any more.

    Returns flag -> the value that it has for good, as text.

    Raises:
        MetaGraphUnusable: functions call each other in a circle.
    """
    bound: dict[str, str] = {}
    for _ in range(_MAX_ROUNDS):
        changed = inline_calls(graph, graph.ancestors(outputs, stop=cut.__contains__))
        # With the pivots: a branch of constants depends on its condition by control alone.
        folded = fold_conditions(graph, needed(graph, outputs, set(cut)))
        flags = bind_phases(graph, outputs, cut)
        bound |= flags
        if not (folded or changed or flags):
            return bound
    raise errors.MetaGraphUnusable("the graph's functions call each other in a circle")


def _inputs(graph: NodeGraph, outputs: Sequence[Port], chosen: Sequence[Port]) -> list[Feed]:
    found = find_feeds(graph, outputs, set(chosen))
    if not chosen:
        if len(found) == 1:
            return found
        listed = counted([str(feed) for feed in found])
        raise errors.Unconvertible(
            f"which tensors are the inputs? The outputs depend on {listed}. Name all that "
            "requests will bring, and bind the others to a value"
            if found
            else "the outputs depend on no iterator, queue or placeholder: name the input"
        )
    unused = [port.tensor_name for port in chosen if port not in {feed.port for feed in found}]
    if unused:
        raise errors.Unconvertible(f"the outputs do not depend on {', '.join(unused)}")
    others = [str(feed) for feed in found if feed.port not in chosen]
    if others:
        raise errors.Unconvertible(
            f"the outputs also depend on {counted(others)}: name them as inputs too, or bind "
            "them to a value"
        )
    by_port = {feed.port: feed for feed in found}
    return [by_port[port] for port in chosen]


def _refuse_batch_statistics(
    graph: NodeGraph, forward: set[str], feeds: Sequence[Feed], switched: Switched
) -> None:
    fed = graph.dependents(cut_ports(feeds))
    sizes = {feed.shape[0] for feed in feeds if feed.shape}
    left = batch_statistics(graph, forward, fed, sizes)
    if not left:
        return
    reasons = [
        f"{name} ({switched.stuck.get(name, 'it takes a mean over the batch')})" for name in left
    ]
    raise errors.Unconvertible(
        f"answers would depend on the other images of a batch: {counted(reasons)}. "
        + "".join(f"{one}. " for one in switched.ambiguous)
        + "Choose outputs before, or keep_batch_statistics if the model is meant so"
    )


def _warnings(parameters: MetaGraphParameters, freed: Sequence[str]) -> tuple[str, ...]:
    said = []
    if parameters.keep_batch_statistics:
        said.append(
            "batch norms normalise by the batch, as asked: answers depend on what else is in it"
        )
    if parameters.keep_dropout:
        said.append("dropouts are kept, as asked: answers vary, and requests never share a batch")
    if freed:
        said.append(f"made for one batch size, now for any: {counted(freed)}")
    return tuple(said)
