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
_SIZED = {
    "Reshape": 1, "Fill": 0, "Conv2DBackpropInput": 0, "Conv3DBackpropInputV2": 0,
    "BroadcastTo": 1, "Tile": 1,
}  # fmt: skip
# What they give has the rows of the first input, and not of the batch alone.
_OF_INPUT = frozenset(["Reshape", "Conv2DBackpropInput", "Conv3DBackpropInputV2"])
# A row that stands for all rows by broadcasting does not in these.
_NEEDS_ROWS = frozenset(["Concat", "ConcatV2", "Enter", "RefEnter"])
# Behind these the first dimension may be another one.
_REORDERING = frozenset(
    ["Transpose", "Pack", "Unpack", "Enter", "TensorArrayV3", "TensorArrayScatterV3",
     "TensorArrayWriteV3", "TensorArrayGatherV3", "SpaceToBatchND", "BatchToSpaceND"]
)  # fmt: skip


def free_batch_of(graph: NodeGraph, outputs: Iterable[Port], feeds: Sequence[Feed]) -> list[str]:
    """Frees, in place, a net from the size of batch of its first input, as `free_batch` does."""
    names = graph.ancestors(outputs, stop={feed.port for feed in feeds}.__contains__)
    return [
        name
        for feed in feeds[:1]
        if feed.shape and feed.shape[0] > 0
        for name in free_batch(graph, names, feed.port, feed.shape[0])
    ]


def free_batch(graph: NodeGraph, names: Iterable[str], cut: Port, batch: int) -> list[str]:
    """Rewrites, in place, dimensions that have the size of batch of the training graph.

    Reshapes of what the input gives, results of transposed convolutions, and filled tensors such
    as the first state of a recurrent net. With the graph's own size of batch each gives what it
    gave before. Returns the names of the nodes.

    Args:
        graph: the graph.
        names: the nodes of the outputs.
        cut: an input, whose first dimension is the batch.
        batch: the size that the graph was made for.
    """
    wanted = sorted(names)
    rewriting = _Rewriting(graph, cut, batch)
    return [name for name in wanted if rewriting.follows_batch(name)]


class _Rewriting:
    """A graph that is being freed from one size of batch."""

    def __init__(self, graph: NodeGraph, cut: Port, batch: int) -> None:
        self._graph = graph
        self._cut = cut
        self._batch = batch
        self._fed = graph.dependents([cut])
        self._reordered = _reordered(graph, self._fed)
        self._consumers = graph.consumers()
        self._size: Port | None = None

    def follows_batch(self, name: str) -> bool:
        """Lets a node, in place, follow the input's batch; whether anything had to be done."""
        node = self._graph.nodes[name]
        if node.op == "Const":
            rest = _of_constant(node, self._batch)
            if rest is None or not self._matters(name):
                return False
            _fill(self._graph, name, self._following(name, rest))
            return True
        written = self._written(name)
        if written is None:
            return False
        dimensions = self._dimensions(name, written)
        if dimensions is None:
            return False
        node.input[_SIZED[node.op]] = str(dimensions)
        for attribute in {"Tshape", "index_type", "Tidx", "Tmultiples"} & node.attr.keys():
            node.attr[attribute].type = _INT32
        return True

    def _written(self, name: str) -> list[int] | None:
        """Returns the dimensions that are written into a node, if they may have the batch."""
        op = self._graph.nodes[name].op
        fed = name in self._fed
        if op not in _SIZED or (op in _OF_INPUT and not fed) or (op == "Tile" and fed):
            return None
        if op not in _OF_INPUT and not self._matters(name):
            return None
        value = constant_value(self._graph, self._graph.inputs(name)[_SIZED[op]])
        return value.tolist() if value is not None and value.ndim == 1 and value.size else None

    def _dimensions(self, name: str, written: list[int]) -> Port | None:
        """Returns dimensions that follow the batch; None: the written ones do, or nobody knows."""
        is_reshape = self._graph.nodes[name].op == "Reshape"
        moved = is_reshape and name in self._reordered
        if written[0] == self._batch and not moved:
            return self._following(name, self._rest(name, written))
        if not is_reshape or self._batch == 1 or min(written) < 1:
            return None
        # Steps of a sequence, say, that are rows for a layer: the first dimension is the rest.
        places = [0] if written[0] % self._batch == 0 else []
        if moved:
            places += [place for place, size in enumerate(written) if size == self._batch]
        if len(set(places)) != 1:
            return None
        written[places[0]] = -1
        return _constant(self._graph, f"{name}/any_batch", written)

    def _rest(self, name: str, written: list[int]) -> list[int]:
        if -1 not in written[1:]:
            return written[1:]
        # Of `[batch, -1]` the graph may state what is left.
        after = stated_shape(self._graph.nodes[name], 0)
        known = after and after[0] == self._batch and min(after[1:], default=1) >= 0
        return after[1:] if after and known else written[1:]

    def _following(self, name: str, rest: list[int]) -> Port:
        self._size = self._size or _batch_of(self._graph, self._cut)
        return _following(self._graph, name, self._size, rest)

    def _matters(self, name: str) -> bool:
        """Whether something that does not come from the input needs its row for each image.

        One row alone is one for all where it is broadcast.
        """
        takers = {self._graph.nodes[user].op for user, _ in self._consumers.get(name, ())}
        return self._batch > 1 or bool(takers & _NEEDS_ROWS)


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


def _of_constant(node: Any, batch: int) -> list[int] | None:
    """Returns the dimensions of a constant that is one number everywhere, as a first state is."""
    tensor = node.attr["value"].tensor
    shape = [int(one.size) for one in tensor.tensor_shape.dim]
    if len(shape) < 2 or shape[0] != batch:
        return None
    value = tf.make_ndarray(tensor)
    return shape[1:] if value.size and (value == value.flat[0]).all() else None


def _reordered(graph: NodeGraph, fed: set[str]) -> set[str]:
    """Returns the nodes among some that may have something else than the batch first."""
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
