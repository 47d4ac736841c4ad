"""A graph's message -> TensorFlow's graph, in pieces, with every node under its own name."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from service_kit import errors

# Bytes of constants in one piece. A piece is written and read with Python's lock held; in one piece
# DenseNet-169's took 190 to 650 ms, for which no request got on.
_PIECE_BYTES = 2**18


def import_graph(graph: Any, ports: Collection[str] = ()) -> Any:
    """Returns a `tf.Graph` with the nodes of a `GraphDef`.

    TensorFlow gives a node another name where a name before it begins with its own and a slash
    (`best` after `best/dimension`), and constants are imported first. So these go by numbers below
    a prefix that nothing else has. All other nodes keep their names, and so do constants in
    `ports`.

    Args:
        graph: the message.
        ports: names of tensors that will be looked up in the result.

    Raises:
        EngineFailed: with TensorFlow's words.
    """
    import tensorflow.compat.v1 as tf

    kept = {port.partition(":")[0] for port in ports}
    alone = [node for node in graph.node if _stands_alone(node) and node.name not in kept]
    names = {node.name for node in alone}
    made = tf.Graph()
    with made.as_default():
        try:
            constants: dict[str, Any] = {}
            for piece, originals in _pieces(alone, _free_prefix(graph), graph.versions):
                tf.import_graph_def(piece, name="")
                for node, original in zip(piece.node, originals, strict=True):
                    constants[f"{original}:0"] = made.get_tensor_by_name(f"{node.name}:0")
            rest = tf.GraphDef(versions=graph.versions, library=graph.library)
            for node in graph.node:
                if node.name not in names:
                    _without_waiting_for(names, rest.node.add(), node)
            used = {_as_key(source) for node in rest.node for source in node.input}
            tf.import_graph_def(
                rest, name="", input_map={key: constants[key] for key in constants.keys() & used}
            )
        # A KeyError is how it says that a node's input, or an op's definition, is missing.
        except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
            raise errors.EngineFailed(f"TensorFlow cannot import the graph: {error}") from error
    return made


def _stands_alone(node: Any) -> bool:
    return node.op == "Const" and not node.input


def _free_prefix(graph: Any) -> str:
    """Returns a name scope that the graph does not have."""
    prefix = "constants"
    taken = {node.name.partition("/")[0] for node in graph.node}
    while prefix in taken:
        prefix += "_"
    return prefix


def _pieces(nodes: list[Any], prefix: str, versions: Any) -> Iterator[tuple[Any, list[str]]]:
    """Yields graphs of constants, with their names in the whole graph."""
    from tensorflow.core.framework import graph_pb2

    piece, originals, size = graph_pb2.GraphDef(versions=versions), list[str](), 0
    for number, node in enumerate(nodes):
        copy = piece.node.add()
        copy.CopyFrom(node)
        copy.name = f"{prefix}/{number}"
        # It names nodes of the whole graph.
        copy.attr.pop("_class", None)
        originals.append(node.name)
        size += node.ByteSize()
        if size >= _PIECE_BYTES:
            yield piece, originals
            piece, originals, size = graph_pb2.GraphDef(versions=versions), [], 0
    if piece.node:
        yield piece, originals


def _without_waiting_for(constants: Collection[str], copy: Any, node: Any) -> None:
    """Copies a node without its control inputs from constants, which are always there."""
    copy.CopyFrom(node)
    if any(source.startswith("^") and source[1:] in constants for source in node.input):
        del copy.input[:]
        copy.input.extend(
            source
            for source in node.input
            if not (source.startswith("^") and source[1:] in constants)
        )


def _as_key(source: str) -> str:
    return source if source.startswith("^") or ":" in source else f"{source}:0"
