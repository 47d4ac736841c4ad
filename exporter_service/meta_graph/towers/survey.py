"""Looks a training graph over without changing it or asking anything of it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from exporter_service.checkpoints.graph_contents import (
    InputContents,
    MetaGraphContents,
    OutputContents,
    UnregisteredOp,
)
from exporter_service.meta_graph.detection.ends import is_training
from exporter_service.meta_graph.detection.feeds import FEEDS, described
from exporter_service.meta_graph.detection.fused_norm import FUSED, in_training
from exporter_service.meta_graph.detection.heads import find_heads
from exporter_service.meta_graph.detection.leftovers import unregistered
from exporter_service.meta_graph.detection.moving_updates import moving_updates, shadows
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.variables import trainable_names
from exporter_service.meta_graph.rewriting.batch_norm import training_forward
from exporter_service.meta_graph.rewriting.dropout import remove_dropouts

_MAX_OUTPUTS = 20
# As trainers name copies of the net: `tower_0`, `clone_1`, `Card_0`, `replica_1`.
_TOWER = re.compile(r"((?:.*/)?(?:tower|clone|card|replica|gpu)_?\d+)/", re.IGNORECASE)


def survey(meta: Any) -> MetaGraphContents:
    """Returns what a MetaGraphDef holds."""
    definition = type(meta.graph_def)()
    definition.CopyFrom(meta.graph_def)
    graph = NodeGraph(definition)
    heads = find_heads(graph, trainable_names(meta))
    forward = graph.ancestors([head.port for head in heads[:1]])
    everything = set(graph.nodes)
    trained = training_forward(graph, [head.port for head in heads], frozenset())
    averaged = shadows(graph, moving_updates(graph, trained))
    return MetaGraphContents(
        node_count=len(meta.graph_def.node),
        inputs=_inputs(graph, forward),
        outputs=tuple(
            OutputContents(head.port.tensor_name, head.kind, head.trains)
            for head in heads[:_MAX_OUTPUTS]
        ),
        batch_norms=_batch_norms(graph),
        towers=tuple(_towers(graph)),
        unregistered_ops=tuple(
            UnregisteredOp(name, graph.nodes[name].op, name in forward)
            for name in unregistered(graph, sorted(everything))
        ),
        averaged_variables=len(averaged),
        # Last, because it takes them out of this copy.
        dropout_count=len(remove_dropouts(graph, everything)),
    )


def _inputs(graph: NodeGraph, forward: set[str]) -> tuple[InputContents, ...]:
    taken: dict[Port, bool] = {}
    for users in graph.consumers().values():
        for user, port in users:
            fed = graph.op(port) in FEEDS and graph.op(Port(user)) not in FEEDS
            if fed and not is_training(port.node):
                taken[port] = taken.get(port, False) or user in forward
    found = []
    for port in sorted(taken, key=lambda one: (not taken[one], one)):
        feed = described(graph, port)
        found.append(
            InputContents(port.tensor_name, feed.kind, feed.dtype, feed.shape, taken[port])
        )
    return tuple(found)


def _batch_norms(graph: NodeGraph) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for name in graph.of_op(*FUSED):
        counts["fused, training" if in_training(graph, name) else "fused, inference"] += 1
    # An unfused batch norm takes the inverse root of its variance.
    for name in graph.of_op("Rsqrt"):
        cone = graph.ancestors([Port(name)], stop=lambda port: graph.op(port) == "Relu")
        ops = {graph.nodes[one].op for one in cone}
        if "SquaredDifference" in ops:
            counts["unfused, training or under a condition"] += 1
        elif ops & {"VariableV2", "Variable", "VarHandleOp"}:
            counts["unfused, inference"] += 1
    return dict(sorted(counts.items()))


def _towers(graph: NodeGraph) -> list[str]:
    """Returns the scopes of copies; one scope alone is no copy."""
    scopes = {match[1] for name in graph.nodes if (match := _TOWER.match(name))}
    outer = sorted(scope for scope in scopes if scope.count("/") == 0)
    return outer if len(outer) > 1 else []
