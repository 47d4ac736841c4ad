"""From a graph file to what a service runs: the towers alone, pinned, checked and imported."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from service_kit import errors
from service_kit.frozen_graph.graph_import import import_graph
from service_kit.frozen_graph.op_allowance import check_ops
from service_kit.frozen_graph.tower_graph import PinnedTower, Ports, TowerGraph


def parse_graph(content: bytes) -> Any:
    """Returns the `GraphDef` of a file as TensorFlow takes it; raises as `parse_graph_as`."""
    from tensorflow.core.framework import graph_pb2

    return parse_graph_as(graph_pb2.GraphDef, content)


def parse_graph_as(message: Any, content: bytes) -> Any:
    """Returns the graph in a file as a message of the class.

    Raises:
        EngineFailed: the bytes are no graph.
    """
    from google.protobuf.message import DecodeError

    try:
        return message.FromString(content)
    except DecodeError as error:
        raise errors.EngineFailed(f"the file cannot be parsed as a graph: {error}") from error


def import_towers(
    towers: TowerGraph, wanted: Sequence[PinnedTower], allowed_ops: Collection[str] = ()
) -> tuple[Any, list[Ports]]:
    """Returns a `tf.Graph` with these towers alone, and the tensors of each.

    Args:
        towers: the whole graph.
        wanted: what to import; what else is in the graph is never looked at.
        allowed_ops: ops that the operator allows besides.

    Raises:
        EngineFailed: a tensor is not in the graph, or TensorFlow does not take it.
        GraphRefused: an op is not allowed.
    """
    pinned, ports = towers.pinned(wanted)
    check_ops(pinned, allowed_ops)
    names = [name for port in ports for name in (*port.feeds, *port.fetches)]
    graph = import_graph(pinned, names)
    for name in names:
        try:
            graph.get_tensor_by_name(name)
        except (KeyError, ValueError) as error:
            raise errors.EngineFailed(f"the graph has no tensor {name}: {error.args[0]}") from error
    return graph, ports
