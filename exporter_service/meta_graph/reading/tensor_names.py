"""Names as users write them: `x`, `x:0`, `alias=x:0`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence

from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import output_types
from service_kit import errors

_SUGGESTED = 5
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_.]+")


def parse_name(text: str) -> tuple[str, Port]:
    """Returns the alias (empty for none) and the port of `alias=x:0`."""
    alias, _, tensor = text.rpartition("=")
    node, _, index = tensor.partition(":")
    return alias, Port(node, int(index) if index else 0)


def find_port(graph: NodeGraph, port: Port, what: str) -> Port:
    """Returns the port if the graph has it.

    Args:
        graph: where to look.
        port: as parsed.
        what: `input` or `output`, for the message.

    Raises:
        Unconvertible: there is no such tensor; names the nearest.
    """
    if port.node not in graph.nodes:
        near = nearest(port.node, graph.nodes)
        raise errors.Unconvertible(
            f"the graph has no tensor {port.tensor_name} to take as {what}; "
            + (f"nearest are {', '.join(near)}" if near else "no name is like it")
        )
    types = output_types(graph.nodes[port.node])
    if types is not None and port.number >= len(types):
        raise errors.Unconvertible(
            f"{port.node} has {len(types)} outputs, so there is no {what} {port.tensor_name}"
        )
    return port


def nearest(name: str, names: Collection[str]) -> list[str]:
    """Returns the names most like one, the likest first."""
    last = name.rpartition("/")[2].lower()
    same = sorted((one for one in names if one.rpartition("/")[2].lower() == last), key=len)
    alike = difflib.get_close_matches(name, names, _SUGGESTED, cutoff=0.5)
    return list(dict.fromkeys([*same[:3], *alike]))[:_SUGGESTED]


def semantic_names(aliases: Sequence[str], ports: Sequence[Port], sole: str) -> list[str]:
    """Returns the names that requests will use: the aliases, or what the nodes are called.

    Args:
        aliases: one a port; empty for none.
        ports: the tensors.
        sole: the name of a single port without an alias.
    """
    if len(ports) == 1:
        return [aliases[0] or sole]
    names: list[str] = []
    for alias, port in zip(aliases, ports, strict=True):
        last = _NOT_A_NAME.sub("_", port.node.rpartition("/")[2])
        wanted = alias or (f"{last}_{port.number}" if port.number else last)
        name, number = wanted, 0
        while name in names:
            number += 1
            name = f"{wanted}_{number}"
        names.append(name)
    return names
