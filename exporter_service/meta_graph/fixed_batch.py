"""Reshapes that a graph made for one size of batch are made to take any."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.constants import constant_value
from exporter_service.meta_graph.node_graph import NodeGraph, Port
from exporter_service.meta_graph.op_defs import stated_shape


def free_reshapes(graph: NodeGraph, names: Iterable[str], batch: int) -> list[str]:
    """Rewrites, in place, reshapes to `[batch, ...]` so that they take any batch.

    Only those whose input has the batch first as well are rewritten: their result then has
    what is left, which the graph states. Returns their names.
    """
    changed = []
    for name in sorted(names):
        node = graph.nodes[name]
        if node.op != "Reshape":
            continue
        source, target = graph.inputs(name)
        before = stated_shape(graph.node(source), source.number)
        after = stated_shape(node, 0)
        wanted = constant_value(graph, target)
        if (
            before is None
            or after is None
            or wanted is None
            or not (before and after and wanted.size)
            or not before[0] == after[0] == int(wanted[0]) == batch
            or min(after[1:], default=1) < 0
        ):
            continue
        free = graph.add("Const", f"{name}/any_batch")
        free.attr["dtype"].type = tf.int32.as_datatype_enum
        free.attr["value"].tensor.CopyFrom(
            tf.make_tensor_proto(np.array([-1, *after[1:]], np.int32))
        )
        node.input[1] = str(Port(free.name))
        node.attr["Tshape"].type = tf.int32.as_datatype_enum
        changed.append(name)
    return changed
