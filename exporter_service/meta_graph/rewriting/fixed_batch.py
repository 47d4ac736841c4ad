"""What a graph made for one size of batch has written into it is made to follow the input's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.detection.feeds import Feed
from exporter_service.meta_graph.reading.constants import constant_value
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import output_types, stated_shape

_INT32 = tf.int32.as_datatype_enum
# Op -> position of the input that holds the dimensions of its result.
_SIZED = {"Reshape": 1, "Fill": 0, "Conv2DBackpropInput": 0, "BroadcastTo": 1}
# Behind these the first dimension may be another one.
_REORDERING = frozenset(
    ["Transpose", "Pack", "Unpack", "Enter", "TensorArrayV3", "TensorArrayScatterV3",
     "TensorArrayWriteV3", "TensorArrayGatherV3", "SpaceToBatchND", "BatchToSpaceND"]
)  # fmt: skip


def free_batch_of(graph: NodeGraph, outputs: Iterable[Port], feeds: Sequence[Feed]) -> list[str]:
    """Frees, in place, a net from the size of batch of its first input, as `free_batch` does."""
    names = graph.ancestors(outputs, stop={feed.port for feed in feeds}.__contains__)
    # One image at a time is what any graph can be served with: nothing to be freed from.
    return [
        name
        for feed in feeds[:1]
        if feed.shape and feed.shape[0] > 1
        for name in free_batch(graph, names, feed.port, feed.shape[0])
    ]


def free_batch(graph: NodeGraph, names: Iterable[str], cut: Port, batch: int) -> list[str]:
    """Rewrites, in place, dimensions that begin with the size of batch of the training graph.

    Reshapes to `[batch, ...]` of what still has the batch first, results of transposed
    convolutions, and filled tensors such as the first state of a recurrent net. Returns the
    names of the nodes.

    Args:
        graph: the graph.
        names: the nodes of the outputs.
        cut: an input, whose first dimension is the batch.
        batch: the size that the graph was made for, above 1.
    """
    wanted = sorted(names)
    reordered = _reordered(graph, cut)
    changed = []
    size: Port | None = None
    for name in wanted:
        node = graph.nodes[name]
        dimensions = _dimensions(graph, name, batch)
        if dimensions is None or (node.op == "Reshape" and name in reordered):
            continue
        size = size or _batch_of(graph, cut)
        followed = _following(graph, name, size, dimensions)
        if node.op == "Const":
            _fill(graph, name, followed)
        else:
            node.input[_SIZED[node.op]] = str(followed)
            if "Tshape" in node.attr:
                node.attr["Tshape"].type = _INT32
            if "index_type" in node.attr:
                node.attr["index_type"].type = _INT32
        changed.append(name)
    return changed


def repeat_rows(
    graph: NodeGraph, name: str, row: np.ndarray[Any, Any], axis: int, cut: Port
) -> None:
    """Turns a constant, in place, into one row repeated for as many examples as the input has.

    Args:
        graph: the graph.
        name: the constant.
        row: what each example gets, with a size of 1 along `axis`.
        axis: where the examples lie.
        cut: an input, whose first dimension is the batch.
    """
    node = graph.nodes[name]
    dtype = node.attr["dtype"].type
    one = graph.add("Const", f"{name}/row")
    one.attr["dtype"].type = dtype
    one.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(row, dtype=tf.as_dtype(dtype)))
    before, after = list(row.shape[:axis]), list(row.shape[axis + 1 :])
    sizes = [_constant(graph, f"{name}/sizes", part) for part in (before, after) if part]
    sizes.insert(1 if before else 0, _batch_of(graph, cut))
    place = _constant(graph, f"{name}/axis", 0)
    dimensions = graph.add("ConcatV2", f"{name}/any_batch", [*sizes, place])
    dimensions.attr["N"].i = len(sizes)
    dimensions.attr["T"].type = dimensions.attr["Tidx"].type = _INT32
    if len(sizes) == 1:
        graph.become_identity(dimensions.name, sizes[0], _INT32)
    node.op = "BroadcastTo"
    node.attr.clear()
    node.attr["T"].type = dtype
    node.attr["Tidx"].type = _INT32
    del node.input[:]
    node.input.extend([str(Port(one.name)), str(Port(dimensions.name))])


def _dimensions(graph: NodeGraph, name: str, batch: int) -> list[int] | None:
    """Returns what follows the batch in a node's written dimensions; None: it has no batch."""
    node = graph.nodes[name]
    if node.op == "Const":
        return _of_constant(node, batch)
    if node.op not in _SIZED:
        return None
    written = constant_value(graph, graph.inputs(name)[_SIZED[node.op]])
    if written is None or written.ndim != 1 or not written.size or int(written[0]) != batch:
        return None
    rest = [int(size) for size in written[1:]]
    if -1 not in rest:
        return rest
    # Of `[batch, -1]` the graph states what is left.
    after = stated_shape(node, 0)
    return after[1:] if after and after[0] == batch and min(after[1:], default=1) >= 0 else None


def _of_constant(node: Any, batch: int) -> list[int] | None:
    """Returns the dimensions of a constant that is one number everywhere, as a first state is."""
    tensor = node.attr["value"].tensor
    shape = [int(one.size) for one in tensor.tensor_shape.dim]
    if len(shape) != 2 or shape[0] != batch:
        return None
    value = tf.make_ndarray(tensor)
    return shape[1:] if value.size and (value == value.flat[0]).all() else None


def _reordered(graph: NodeGraph, cut: Port) -> set[str]:
    """Returns the nodes that may have something else than the batch first."""
    fed = graph.dependents([cut])
    moved = [name for name in fed if graph.nodes[name].op in _REORDERING]
    return graph.dependents_of_nodes(moved) | set(moved)


def _batch_of(graph: NodeGraph, cut: Port) -> Port:
    """Adds the batch's size, int32 [1], as the input has it."""
    shape = graph.add("Shape", "any_batch/shape", [cut])
    shape.attr["T"].type = _type_of(graph, cut)
    shape.attr["out_type"].type = _INT32
    bounds = [_constant(graph, f"any_batch/{name}", [value]) for name, value in
              (("begin", 0), ("end", 1), ("step", 1))]  # fmt: skip
    size = graph.add("StridedSlice", "any_batch/size", [Port(shape.name), *bounds])
    size.attr["T"].type = size.attr["Index"].type = _INT32
    return Port(size.name)


def _following(graph: NodeGraph, name: str, size: Port, rest: list[int]) -> Port:
    """Adds the dimensions `[size, *rest]`, int32."""
    if not rest:
        return size
    others = _constant(graph, f"{name}/other_sizes", rest)
    axis = _constant(graph, f"{name}/axis", 0)
    joined = graph.add("ConcatV2", f"{name}/any_batch", [size, others, axis])
    joined.attr["N"].i = 2
    joined.attr["T"].type = joined.attr["Tidx"].type = _INT32
    return Port(joined.name)


def _fill(graph: NodeGraph, name: str, dimensions: Port) -> None:
    """Turns a constant that is one number everywhere, in place, into one of any batch."""
    node = graph.nodes[name]
    value = tf.make_ndarray(node.attr["value"].tensor).flat[0]
    dtype = node.attr["dtype"].type
    number = graph.add("Const", f"{name}/number")
    number.attr["dtype"].type = dtype
    number.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.op = "Fill"
    node.attr.clear()
    node.attr["T"].type = dtype
    node.attr["index_type"].type = _INT32
    del node.input[:]
    node.input.extend([str(dimensions), str(Port(number.name))])


def _constant(graph: NodeGraph, name: str, value: int | list[int]) -> Port:
    node = graph.add("Const", name)
    node.attr["dtype"].type = _INT32
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.array(value, np.int32)))
    return Port(node.name)


def _type_of(graph: NodeGraph, port: Port) -> int:
    types = output_types(graph.node(port))
    return types[port.number] if types else tf.float32.as_datatype_enum
