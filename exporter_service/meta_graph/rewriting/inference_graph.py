"""What a training graph becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter_service.meta_graph.detection.feeds import Feed
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port


@dataclass(frozen=True, slots=True)
class InferenceGraph:
    """One copy of a net, pruned, with consumers that still name the ports of the cut.

    Attributes:
        graph: the nodes; variables are still variables.
        cut: the ports that become placeholders.
        input_names: their names in requests.
        outputs: the ports to answer with.
        output_shapes: what the training graph states, batch first, -1: any; None: nothing.
        output_names: their names in requests.
        averages_of: variable -> the variables that are moving averages of it.
        statistics: variables that batch norms take since they were switched.
        roles: variable -> what it is, in words, for those that training assigns.
        initial_states: state that begins every request with its initializer's value.
        kept_stored: state whose stored value was kept on the user's word.
        batch_norms: number of batch norms (fused) and batch statistics (unfused) switched.
        dropouts: number of dropouts removed.
        bound: placeholder or flag -> value that it has for good.
        warnings: sentences for the user.
    """

    graph: NodeGraph
    cut: tuple[Feed, ...]
    input_names: tuple[str, ...]
    outputs: tuple[Port, ...]
    output_shapes: tuple[tuple[int, ...] | None, ...]
    output_names: tuple[str, ...]
    averages_of: Mapping[str, Sequence[str]]
    statistics: frozenset[str]
    roles: Mapping[str, str]
    initial_states: tuple[str, ...]
    kept_stored: tuple[str, ...]
    batch_norms: int
    dropouts: int
    bound: Mapping[str, str]
    warnings: tuple[str, ...]
