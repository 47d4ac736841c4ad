"""Where the examples of a batch lie in a tensor, op by op: along one axis, or nowhere any more.

What a mean over the batch leaves is a statistic; a mean over time, or of one example, is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from exporter_service.meta_graph.detection.average_arithmetic import ARITHMETIC
from exporter_service.meta_graph.detection.content import REDUCED, SOMEWHERE, Content, Origin
from exporter_service.meta_graph.detection.fused_norm import FUSED
from exporter_service.meta_graph.reading.constants import constant_value
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import stated_shape

EXTREMA = frozenset(["Max", "Min"])
_REDUCTIONS = frozenset(["Mean", "Sum", "Prod", "All", "Any", "ArgMax", "ArgMin"]) | EXTREMA
# Gradients of what all examples share are sums over them.
_SUMMED = frozenset(
    ["Conv2DBackpropFilter", "Conv3DBackpropFilter", "Conv3DBackpropFilterV2",
     "DepthwiseConv2dNativeBackpropFilter", "BiasAddGrad", "L2Loss"]
)  # fmt: skip
_SEGMENTS = frozenset(["UnsortedSegmentSum", "SegmentSum", "SegmentMean"])
_GATHERS = frozenset(["Gather", "GatherV2", "GatherNd", "ResourceGather", "ResourceGatherNd"])
# A loop may do anything with an axis.
_LOOPS = frozenset(["Enter", "RefEnter", "Exit", "RefExit", "NextIteration", "RefNextIteration",
                    "LoopCond", "While", "StatelessWhile"])  # fmt: skip
_PASSING = frozenset(["Cast", "Identity", "StopGradient", "Reshape", "Transpose"])
_IMAGE_RANK = 3


def combined(graph: NodeGraph, port: Port, contents: Sequence[Content]) -> Content:
    """Returns what a port holds, given what its node's data inputs hold.

    Args:
        graph: holds the node.
        port: one of the node's outputs.
        contents: one a data input, in order.
    """
    highest = max((one.origin for one in contents), default=Origin.FIXED)
    if highest is not Origin.EXAMPLE:
        return Content(highest)
    op = graph.op(port)
    if op in FUSED:
        return REDUCED if port.number else contents[0]
    if op in _SUMMED:
        return REDUCED
    if op in _LOOPS or op.startswith("TensorArray") or _joins_a_loop(graph, port):
        return SOMEWHERE
    rule = _RULES.get(op)
    return rule(graph, port.node, contents) if rule else _default(graph, port, contents)


def _joins_a_loop(graph: NodeGraph, port: Port) -> bool:
    return graph.op(port) in {"Merge", "RefMerge"} and any(
        graph.op(one).endswith("NextIteration") for one in graph.inputs(port.node)
    )


def _default(graph: NodeGraph, port: Port, contents: Sequence[Content]) -> Content:
    """Most ops keep the examples where they are; arithmetic aligns shapes at their end."""
    after = _shape(graph, port)
    found: set[int | None] = set()
    for source, one in zip(graph.inputs(port.node), contents, strict=False):
        if one.origin is not Origin.EXAMPLE:
            continue
        before = _shape(graph, source)
        shift = 0
        if graph.op(port) in ARITHMETIC and after is not None and before is not None:
            shift = len(after) - len(before)
        found.add(None if one.axis is None else one.axis + shift)
    axis = found.pop() if len(found) == 1 else None
    return Content(Origin.EXAMPLE, axis)


def _reduce(graph: NodeGraph, name: str, contents: Sequence[Content]) -> Content:
    source, axes = graph.inputs(name)[:2]
    shape, axis = _shape(graph, source), contents[0].axis
    written = constant_value(graph, axes)
    if contents[0].origin is not Origin.EXAMPLE or written is None:
        return SOMEWHERE
    over = {int(one) for one in written.reshape(-1)}
    if min(over, default=0) < 0 and shape is None:
        return SOMEWHERE
    over = {one + len(shape or ()) if one < 0 else one for one in over}
    # One example alone is not reduced by leaving out its axis.
    if shape is not None and all(shape[one] == 1 for one in over if one < len(shape)):
        return SOMEWHERE if axis is None or axis in over else _left(graph, name, axis, over)
    if axis is None:
        return REDUCED if _leaves_no_example(shape, over) else SOMEWHERE
    return REDUCED if axis in over else _left(graph, name, axis, over)


def _left(graph: NodeGraph, name: str, axis: int, over: set[int]) -> Content:
    kept = _flag(graph, name, "keep_dims")
    return Content(Origin.EXAMPLE, axis if kept else axis - sum(one < axis for one in over))


def _leaves_no_example(shape: Sequence[int] | None, over: set[int]) -> bool:
    """Whether nothing, or but the last axis of an image, a sequence, is left."""
    if shape is None:
        return False
    left = set(range(len(shape))) - over
    return not left or (len(shape) >= _IMAGE_RANK and left == {len(shape) - 1})


def _product(graph: NodeGraph, name: str, contents: Sequence[Content]) -> Content:
    """A matrix product sums over the columns of its left side and the rows of its right one.

    Over the batch that is a statistic if one side says in which cluster each example is. With any
    other weights an example may be left as it is, or be written to a place of a memory.
    """
    matrices = graph.nodes[name].op == "MatMul"
    flags = ("transpose_a", "transpose_b") if matrices else ("adj_x", "adj_y")
    found: set[int | None] = set()
    for side, (one, flag) in enumerate(zip(contents, flags, strict=False)):
        if one.origin is not Origin.EXAMPLE:
            continue
        shape = _shape(graph, graph.inputs(name)[side])
        first = len(shape) - 2 if shape is not None else 0
        if one.axis is None:
            return SOMEWHERE
        if one.axis < first:
            found.add(one.axis)
            continue
        axis = one.axis - first
        axis = 1 - axis if _flag(graph, name, flag) else axis
        if axis == side:
            found.add(first + axis)
        elif shape is not None and shape[one.axis] == 1:
            return SOMEWHERE
    if not found:
        chosen = any(
            graph.op(graph.through(port, _PASSING)) == "OneHot" for port in graph.inputs(name)
        )
        return REDUCED if chosen else SOMEWHERE
    return Content(Origin.EXAMPLE, found.pop() if len(found) == 1 else None)


def _transpose(graph: NodeGraph, name: str, contents: Sequence[Content]) -> Content:
    order, axis = constant_value(graph, graph.inputs(name)[1]), contents[0].axis
    if order is None or axis is None:
        return SOMEWHERE
    return Content(Origin.EXAMPLE, order.reshape(-1).tolist().index(axis))


def _expand(graph: NodeGraph, name: str, contents: Sequence[Content]) -> Content:
    place, axis = constant_value(graph, graph.inputs(name)[1]), contents[0].axis
    if place is None or axis is None or int(place) < 0:
        # At the end, where it moves no other.
        return Content(Origin.EXAMPLE, axis if place is not None and int(place) == -1 else None)
    return Content(Origin.EXAMPLE, axis + (int(place) <= axis))


def _squeeze(graph: NodeGraph, name: str, contents: Sequence[Content]) -> Content:
    shape, axis = _shape(graph, graph.inputs(name)[0]), contents[0].axis
    if shape is None or axis is None:
        return SOMEWHERE
    attribute = graph.nodes[name].attr.get("squeeze_dims")
    named = list(attribute.list.i) if attribute is not None else []
    gone = {one % len(shape) for one in named} or {i for i, size in enumerate(shape) if size == 1}
    if axis in gone:
        return SOMEWHERE
    return Content(Origin.EXAMPLE, axis - sum(one < axis for one in gone))


def _reshape(graph: NodeGraph, name: str, contents: Sequence[Content]) -> Content:
    """Rows that begin with the examples still do so, unless an axis of 1 is put before them."""
    before, after = _shape(graph, graph.inputs(name)[0]), _shape(graph, Port(name))
    if contents[0].axis != 0 or not after:
        return SOMEWHERE
    moved = after[0] == 1 and not (before and before[0] == 1)
    return SOMEWHERE if moved else Content(Origin.EXAMPLE, 0)


def _slice(graph: NodeGraph, name: str, contents: Sequence[Content]) -> Content:
    """A slice that takes one example is no statistic of all."""
    shrunk, axis = _number(graph, name, "shrink_axis_mask"), contents[0].axis
    added = _number(graph, name, "new_axis_mask") | _number(graph, name, "ellipsis_mask")
    if axis is None or added or shrunk >> axis & 1:
        return SOMEWHERE
    return Content(Origin.EXAMPLE, axis - (shrunk & ((1 << axis) - 1)).bit_count())


def _stack(graph: NodeGraph, name: str, contents: Sequence[Content]) -> Content:
    place = _number(graph, name, "axis")
    axes = {one.axis for one in contents if one.origin is Origin.EXAMPLE}
    axis = axes.pop() if len(axes) == 1 else None
    if axis is None or place < 0:
        return SOMEWHERE
    return Content(Origin.EXAMPLE, axis + (place <= axis))


def _unstack(graph: NodeGraph, name: str, contents: Sequence[Content]) -> Content:
    place, axis = _number(graph, name, "axis"), contents[0].axis
    if axis is None or place < 0 or place == axis:
        return SOMEWHERE
    return Content(Origin.EXAMPLE, axis - (place < axis))


def _segments(graph: NodeGraph, name: str, contents: Sequence[Content]) -> Content:
    """Sums by cluster, when the clusters are chosen by what the examples hold."""
    del graph, name
    chosen = contents[1].origin is Origin.EXAMPLE and contents[1].axis == 0
    return REDUCED if chosen else SOMEWHERE


def _gather(graph: NodeGraph, name: str, contents: Sequence[Content]) -> Content:
    del graph, name
    return SOMEWHERE if contents[0].origin is Origin.EXAMPLE else contents[1]


# A look that is not `get` would add the attribute.
def _flag(graph: NodeGraph, name: str, key: str) -> bool:
    attribute = graph.nodes[name].attr.get(key)
    return attribute is not None and bool(attribute.b)


def _number(graph: NodeGraph, name: str, key: str) -> int:
    attribute = graph.nodes[name].attr.get(key)
    return int(attribute.i) if attribute is not None else 0


def _shape(graph: NodeGraph, port: Port) -> list[int] | None:
    return stated_shape(graph.node(port), port.number) if port.node in graph.nodes else None


_Rule = Callable[[NodeGraph, str, Sequence[Content]], Content]
_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2"), _product),
    **dict.fromkeys(_SEGMENTS, _segments),
    **dict.fromkeys(_GATHERS, _gather),
    "Transpose": _transpose,
    "ExpandDims": _expand,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "StridedSlice": _slice,
    "Pack": _stack,
    "Unpack": _unstack,
}
