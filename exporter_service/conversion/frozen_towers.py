"""Where the towers of a frozen graph are, and what goes into them and comes out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from exporter_service.meta_graph.detection.feeds import PLACEHOLDERS
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.tensor_names import find_port, parse_name
from exporter_service.specs.conversion import AdoptionRequest
from service_kit import errors

# `Card_0/...`: the recipe's towers, with any prefix.
_SCOPE = re.compile(r"((?:[A-Za-z0-9.][A-Za-z0-9_.\-/]*)_)(\d+)/")


def find_towers(
    graph: NodeGraph, request: AdoptionRequest
) -> list[tuple[str, list[Port], list[Port]]]:
    """Returns scope, possible inputs and outputs of each tower.

    Raises:
        Unconvertible: it has no obvious inputs or outputs, or not those that are named.
    """
    scopes = _scopes(graph)
    if not scopes:
        return [("", *_borders(graph, request, ""))]
    return [(scope, *_borders(graph, request, f"{scope}/")) for scope in scopes]


def _scopes(graph: NodeGraph) -> list[str]:
    """Returns the scopes `<prefix>_0`, `<prefix>_1`, ... that all have placeholders."""
    numbers: dict[str, set[int]] = {}
    for name in graph.of_op(*PLACEHOLDERS):
        match = _SCOPE.match(name)
        if match:
            numbers.setdefault(match[1], set()).add(int(match[2]))
    whole = [prefix for prefix, found in numbers.items() if found == set(range(len(found)))]
    if len(whole) != 1 or len(numbers) != 1:
        return []
    others = [name for name in graph.of_op(*PLACEHOLDERS) if not _SCOPE.match(name)]
    return [] if others else [f"{whole[0]}{i}" for i in range(len(numbers[whole[0]]))]


def _borders(
    graph: NodeGraph, request: AdoptionRequest, prefix: str
) -> tuple[list[Port], list[Port]]:
    inputs = _named(graph, request.inputs, prefix, "input") or [
        Port(name) for name in graph.of_op(*PLACEHOLDERS) if name.startswith(prefix)
    ]
    if not inputs:
        raise errors.Unconvertible("the graph has no placeholder: name its inputs")
    outputs = _named(graph, request.outputs, prefix, "output") or _ends(graph, inputs, prefix)
    return inputs, outputs


def _named(graph: NodeGraph, texts: Sequence[str], prefix: str, what: str) -> list[Port]:
    ports = [parse_name(text)[1] for text in texts]
    return [find_port(graph, Port(prefix + port.node, port.number), what) for port in ports]


def _ends(graph: NodeGraph, inputs: list[Port], prefix: str) -> list[Port]:
    """Returns what depends on the inputs and is taken by nothing else."""
    consumers = graph.consumers()
    dependents = graph.dependents(inputs)
    ends = sorted(
        name
        for name in dependents
        if name.startswith(prefix) and name not in consumers and graph.nodes[name].op != "Assert"
    )
    if not ends:
        raise errors.Unconvertible("nothing depends on the graph's inputs: name its outputs")
    return [Port(name) for name in ends]
