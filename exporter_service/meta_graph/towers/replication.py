"""One inference graph becomes towers in TensorFlow's default graph, with one set of variables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow.compat.v1 as tf
from tensorflow.core.framework.variable_pb2 import VariableDef
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.python.framework import meta_graph as scoped_meta_graph

from exporter_service.meta_graph.reading.node_graph import NodeGraph, port_of
from exporter_service.meta_graph.reading.variables import REFERENCE, RESOURCE, graph_variable
from exporter_service.meta_graph.rewriting.inference_graph import InferenceGraph
from service_kit import errors

# Constants above this are worth sharing between towers.
_SHARED_BYTES = 1024
_FRAMES = frozenset(["Enter", "RefEnter"])


def import_variables(source: InferenceGraph, shapes: Mapping[str, Sequence[int]]) -> None:
    """Adds the variables to the default graph, with initializers that take fed values.

    Args:
        source: holds them.
        shapes: dimensions of those whose node does not state them.
    """
    meta = MetaGraphDef()
    meta.graph_def.versions.CopyFrom(source.graph.definition.versions)
    collection = meta.collection_def[tf.GraphKeys.GLOBAL_VARIABLES].bytes_list
    for name in source.graph.of_op(*REFERENCE, *RESOURCE):
        node = meta.graph_def.node.add()
        node.CopyFrom(source.graph.nodes[name])
        # A name that other processes could share would tie the towers of two sessions.
        node.attr["shared_name"].s = b"" if node.op in REFERENCE else name.encode()
        collection.value.append(_initialized(meta.graph_def, source.graph, name, shapes))
    try:
        scoped_meta_graph.import_scoped_meta_graph(meta)
    except (ValueError, TypeError, KeyError) as error:
        raise errors.MetaGraphUnusable(f"its variables cannot be imported: {error}") from error


def import_tower(
    source: InferenceGraph, fed: Mapping[str, Any], *, scope: str, first: bool
) -> list[Any]:
    """Adds one copy of the net to the default graph and returns its outputs' tensors.

    Args:
        source: the net; its variables are in the graph already.
        fed: port of the cut, as text -> the tensor to take in its place.
        scope: name scope of the copy; empty: none.
        first: whether shared constants have to be imported, too.
    """
    if first:
        _import_shared(source)
    shared = _shared_names(source.graph)
    body = tf.GraphDef()
    body.versions.CopyFrom(source.graph.definition.versions)
    for name, node in source.graph.nodes.items():
        if name in shared:
            continue
        copy = body.node.add()
        copy.CopyFrom(node)
        if node.op in _FRAMES and scope:
            # Frames are told apart by this name alone, also those of two towers.
            copy.attr["frame_name"].s = f"{scope}/".encode() + node.attr["frame_name"].s
    body.library.CopyFrom(source.graph.definition.library)
    graph = tf.get_default_graph()
    taken = {text for node in body.node for text in node.input if not text.startswith("^")}
    mapping = {
        text: fed[text] if text in fed else graph.get_tensor_by_name(port_of(text).tensor_name)
        for text in taken
        if text in fed or port_of(text).node in shared
    }
    wanted = [port for port in source.outputs if str(port) not in fed and port.node not in shared]
    # The slash takes the scope as it is: the placeholders lie in it already.
    place = f"{scope}/" if scope else ""
    with _translate_errors(), tf.name_scope(None):
        tensors = tf.import_graph_def(
            body, mapping, [port.tensor_name for port in wanted], name=place
        )
    found = dict(zip(wanted, tensors, strict=True))
    for port in source.outputs:
        if port not in found:
            text = str(port)
            found[port] = fed[text] if text in fed else graph.get_tensor_by_name(port.tensor_name)
    return [found[port] for port in source.outputs]


def _initialized(
    definition: Any, graph: NodeGraph, name: str, shapes: Mapping[str, Sequence[int]]
) -> bytes:
    """Adds what a variable's Python object needs, and returns its definition."""
    variable = graph_variable(graph, name)
    value = definition.node.add(name=f"{name}/restored", op="Placeholder")
    value.attr["dtype"].type = variable.dtype
    shape = variable.shape if variable.shape is not None else shapes[name]
    value.attr["shape"].shape.CopyFrom(tf.TensorShape(shape).as_proto())
    assign = definition.node.add(name=f"{name}/restore")
    assign.input.extend([name, value.name])
    # By this name TensorFlow's freezing looks for the value of a resource variable.
    read = definition.node.add(name=f"{name}/Read/ReadVariableOp", input=[name])
    if variable.is_resource:
        assign.op, read.op = "AssignVariableOp", "ReadVariableOp"
        assign.attr["dtype"].type = read.attr["dtype"].type = variable.dtype
    else:
        assign.op, read.op = "Assign", "Identity"
        assign.attr["T"].type = read.attr["T"].type = variable.dtype
        assign.attr["validate_shape"].b = variable.shape is not None
    described = VariableDef(
        variable_name=f"{name}:0",
        initial_value_name=f"{value.name}:0",
        initializer_name=assign.name,
        snapshot_name=f"{read.name}:0",
        is_resource=variable.is_resource,
        trainable=True,
    )
    return bytes(described.SerializeToString())


def _shared_names(graph: NodeGraph) -> set[str]:
    """Returns the nodes that all towers have in common: weights, what reads them, constants."""
    variables = set(graph.of_op(*REFERENCE, *RESOURCE))
    reads = {
        name
        for name in graph.of_op("Identity", "ReadVariableOp")
        if len(graph.nodes[name].input) == 1 and graph.nodes[name].input[0] in variables
    }
    constants = {
        name
        for name in graph.of_op("Const")
        if not graph.nodes[name].input and graph.nodes[name].ByteSize() > _SHARED_BYTES
    }
    return variables | reads | constants


def _import_shared(source: InferenceGraph) -> None:
    """Adds what is shared and is no variable."""
    graph = tf.get_default_graph()
    definition = tf.GraphDef()
    definition.versions.CopyFrom(source.graph.definition.versions)
    variables = set(source.graph.of_op(*REFERENCE, *RESOURCE))
    definition.node.extend(
        source.graph.nodes[name] for name in sorted(_shared_names(source.graph) - variables)
    )
    taken = {text for node in definition.node for text in node.input}
    mapping = {text: graph.get_tensor_by_name(port_of(text).tensor_name) for text in taken}
    with _translate_errors(), tf.name_scope(None), tf.device(None):
        tf.import_graph_def(definition, mapping, name="")


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        raise errors.Unconvertible(f"TensorFlow does not take the graph: {error}") from error
