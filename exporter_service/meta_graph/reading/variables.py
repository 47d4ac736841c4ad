"""Variables of a graph definition: which nodes they are, how they are read, what they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow.compat.v1 as tf
from tensorflow.core.framework.variable_pb2 import VariableDef

from exporter_service.meta_graph.reading.node_graph import Consumers, NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import stated_shape

REFERENCE = frozenset(["VariableV2", "Variable"])
RESOURCE = frozenset(["VarHandleOp"])
_PASSING = frozenset(
    ["Identity", "RefIdentity", "ReadVariableOp", "Enter", "RefEnter", "Switch", "RefSwitch"]
)


@dataclass(frozen=True, slots=True)
class GraphVariable:
    """A variable node: its dtype's enum, its dimensions (None: unknown), and its kind."""

    name: str
    dtype: int
    shape: tuple[int, ...] | None
    is_resource: bool

    @property
    def dtype_is_float(self) -> bool:
        """Whether training could change it by gradient."""
        return bool(tf.as_dtype(self.dtype).is_floating)


def variable_of(graph: NodeGraph, port: Port) -> str | None:
    """Returns the variable whose value, reference or handle a port passes on; None if none."""
    port = graph.through(port, _PASSING)
    return port.node if graph.op(port) in REFERENCE | RESOURCE else None


def graph_variable(graph: NodeGraph, name: str) -> GraphVariable:
    """Returns what a variable's node says of it."""
    node = graph.nodes[name]
    shape = stated_shape(node, 0) if node.op in REFERENCE else _own_shape(node)
    known = shape is not None and all(size >= 0 for size in shape)
    return GraphVariable(
        name=name,
        dtype=node.attr["dtype"].type,
        shape=tuple(shape) if shape is not None and known else None,
        is_resource=node.op in RESOURCE,
    )


def read_of(graph: NodeGraph, name: str, consumers: Consumers) -> Port:
    """Returns a port with a variable's value, adding the node that reads it if need be.

    Args:
        graph: holds the variable.
        name: the variable's node.
        consumers: as `NodeGraph.consumers` returned it.
    """
    variable = graph_variable(graph, name)
    op = "ReadVariableOp" if variable.is_resource else "Identity"
    for consumer, port in consumers.get(name, ()):
        node = graph.nodes.get(consumer)
        if node is not None and node.op == op and port.number == 0 and not graph.controls(consumer):
            return Port(consumer)
    node = graph.add(op, f"{name}/inference_read", [Port(name)])
    node.attr["dtype" if variable.is_resource else "T"].type = variable.dtype
    return Port(node.name)


def trainable_names(meta: Any) -> frozenset[str]:
    """Returns the names of the variables that the `.meta` lists as trainable."""
    return frozenset(_listed(meta, tf.GraphKeys.TRAINABLE_VARIABLES))


def initial_values(meta: Any) -> dict[str, str]:
    """Returns variable -> the tensor that it is initialised with, of any collection that says it.

    A variable of no checkpoint stands among the local ones.
    """
    return {
        one.variable_name.partition(":")[0]: one.initial_value_name
        for collection in meta.collection_def
        for one in _definitions(meta, collection)
        if one.initial_value_name
    }


def _listed(meta: Any, collection: str) -> list[str]:
    return [one.variable_name.partition(":")[0] for one in _definitions(meta, collection)]


def _definitions(meta: Any, collection: str) -> Iterator[Any]:
    for content in meta.collection_def[collection].bytes_list.value:
        try:
            yield VariableDef.FromString(content)
        # protobuf's DecodeError is no ValueError in all of its implementations.
        except Exception:  # noqa: S112
            continue


def _own_shape(node: Any) -> list[int] | None:
    shape = node.attr["shape"].shape
    return None if shape.unknown_rank else [int(dimension.size) for dimension in shape.dim]
