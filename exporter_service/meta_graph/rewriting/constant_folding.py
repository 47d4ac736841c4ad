"""What a graph computes from constants alone becomes a constant, where it may be a shape.

Shape inference reads constants, and not what is computed from them; TensorFlow 1 wrote shapes as
programs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.reading.constants import constant_values, depends_on_constants
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import dtype_name, output_types

# Shapes, axes and indices are small whole numbers.
_MAX_ELEMENTS = 1024


def fold_shapes(graph: NodeGraph) -> int:
    """Replaces, in place, small whole numbers that are computed from constants; returns how many.

    Args:
        graph: a pruned graph.
    """
    fixed = depends_on_constants(graph)
    wanted = [
        Port(name)
        for name in sorted(fixed)
        if graph.nodes[name].op != "Const" and _is_whole(graph.nodes[name])
    ]
    folded = 0
    for port, value in constant_values(graph, wanted).items():
        if value.size <= _MAX_ELEMENTS:
            _become_constant(graph.nodes[port.node], value)
            folded += 1
    return folded


def _is_whole(node: Any) -> bool:
    types = output_types(node)
    return types is not None and len(types) == 1 and dtype_name(types[0]) in {"int32", "int64"}


def _become_constant(node: Any, value: np.ndarray[Any, Any]) -> None:
    pivots = [text for text in node.input if text.startswith("^")]
    node.op = "Const"
    del node.input[:]
    # In a branch or a loop it waits for that.
    node.input.extend(pivots)
    node.attr.clear()
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
