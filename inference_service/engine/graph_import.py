"""A graph's message -> TensorFlow's graph, in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow.compat.v1 as tf

from service_kit import errors

# Bytes of constants in one piece. A piece is written and read with Python's lock held; in one piece
# DenseNet-169's took 190 to 650 ms, for which no request got on.
_PIECE_BYTES = 2**18


def imported(graph: Any) -> Any:
    """Returns a `tf.Graph` with the nodes of a `GraphDef`, under their own names.

    Raises:
        EngineFailed: with TensorFlow's words.
    """
    made = tf.Graph()
    with made.as_default():
        try:
            constants: dict[str, Any] = {}
            for piece in _pieces_of_constants(graph):
                tf.import_graph_def(piece, name="")
                for node in piece.node:
                    operation = made.get_operation_by_name(node.name)
                    constants[f"{node.name}:0"] = operation.outputs[0]
                    constants[f"^{node.name}"] = operation
            rest = tf.GraphDef(versions=graph.versions, library=graph.library)
            rest.node.extend(node for node in graph.node if not _is_free_constant(node))
            used = {_as_key(source) for node in rest.node for source in node.input}
            tf.import_graph_def(
                rest, name="", input_map={key: constants[key] for key in constants.keys() & used}
            )
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise errors.EngineFailed(f"TensorFlow cannot import the graph: {error}") from error
    return made


def _pieces_of_constants(graph: Any) -> Iterator[Any]:
    piece, size = tf.GraphDef(versions=graph.versions), 0
    for node in graph.node:
        if not _is_free_constant(node):
            continue
        piece.node.append(node)
        size += node.ByteSize()
        if size >= _PIECE_BYTES:
            yield piece
            piece, size = tf.GraphDef(versions=graph.versions), 0
    if piece.node:
        yield piece


def _is_free_constant(node: Any) -> bool:
    return node.op == "Const" and not node.input


def _as_key(source: str) -> str:
    return source if source.startswith("^") or ":" in source else f"{source}:0"
