"""Where the size of a dimension comes from that shape inference does not know.

It is followed back through the graph, from dimension to dimension: to an input, whose size is the
caller's; to an op whose number of rows depends on what it is given; or to a shape that is computed
from what an input holds. A dimension that cannot be told from others is followed as any of them:
rather a graph too many is refused than one too few. Functions are searched for such ops, not
followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from service_kit.frozen_graph.row_arrays import (
    VALUE,
    Task,
    behind_tensor_array,
    length_of_list,
    loop_conditions,
    made_by,
)
from service_kit.frozen_graph.row_branches import branches_differ, calls, size_of

# As many rows as the data has.
_DATA = re.compile(
    r"Where|NonMaxSuppression.*|Unique.*|DynamicPartition|ListDiff|StringSplit.*|StringNGrams"
    r"|CTC(Greedy|BeamSearch)Decoder|Parse.*|Decode.*|UnicodeDecode.*|Set.*|DenseTo.*SetOperation"
    r"|Sparse(?!ToDense$|TensorDenseMatMul$|MatMul$|SoftmaxCross|Segment).*|Ragged.*"
    r"|Segment(Sum|Mean|Prod|Min|Max)(V2)?|SparseSegment.*|DeserializeMany.*|.*Bincount"
)
# Inputs that say how large the result is, by what they hold.
_SHAPES: dict[str, tuple[int, ...]] = {
    "BroadcastTo": (1,), "Fill": (0,), "LinSpace": (2,), "MirrorPad": (1,),
    "MultinomialV2": (1,), "OneHot": (1,), "Pad": (1,), "PadV2": (1,), "RandomStandardNormal": (0,),
    "RandomUniform": (0,), "RandomUniformInt": (0,), "Range": (0, 1, 2), "Reshape": (1,),
    "ScatterNd": (2,), "Slice": (1, 2), "SparseTensorDenseMatMul": (2,), "SparseToDense": (1,),
    "StridedSlice": (1, 2, 3), "TensorListReserve": (1,), "Tile": (1,), "TopKV2": (1,),
    "TruncatedNormal": (0,), "UnsortedSegmentMax": (2,), "UnsortedSegmentMin": (2,),
    "UnsortedSegmentProd": (2,), "UnsortedSegmentSum": (2,), "DynamicStitch": (0,),
    "ParallelDynamicStitch": (0,), "BatchToSpaceND": (1, 2), "SpaceToBatchND": (1, 2),
    "Empty": (0,),
}  # fmt: skip
# What they hold is the size of what they are given.
_SIZES = frozenset(["Shape", "ShapeN", "Size", "Rank"])
# No tensor of TensorFlow has more dimensions.
_MAX_RANK = 254
_REDUCTIONS = frozenset(
    ["All", "Any", "ArgMax", "ArgMin", "EuclideanNorm", "Max", "Mean", "Min", "Prod", "Sum"]
)


def data_behind_rows(output: Any, fed: Sequence[Any]) -> str:
    """Returns the op that makes the number of rows of `output` depend on data; empty: none does.

    Args:
        output: a tensor of a `tf.Graph` whose first dimension is not known.
        fed: the tensors that requests bring.
    """
    fed_names = {tensor.name for tensor in fed}
    varying = _varying(output.graph, fed)
    waiting: list[tuple[Task, str]] = [((output, 0), "")]
    seen: set[tuple[str, int | str | None]] = set()
    while waiting:
        (tensor, part), through = waiting.pop()
        # What is always the same has always the same size.
        if (tensor.name, part) in seen or tensor.op.name not in varying:
            continue
        seen.add((tensor.name, part))
        if part == VALUE:
            if tensor.name in fed_names:
                return through
            steps = _behind_value(tensor)
        elif tensor.name in fed_names or _is_known(tensor, part):
            continue
        elif (
            _DATA.fullmatch(tensor.op.type)
            or branches_differ(tensor, part)
            or calls(tensor.op, _DATA)
        ):
            return _named(tensor.op)
        else:
            steps = _behind_size(tensor, part)
            # What a shape is computed from is told by the op that takes the shape.
            through = _named(tensor.op)
        waiting.extend((step, through) for step in steps)
    return ""


def _varying(graph: Any, fed: Sequence[Any]) -> set[str]:
    """Returns the names of the ops whose values depend on what is fed, or are random."""
    found: set[str] = set()
    waiting = [tensor.op for tensor in fed]
    waiting += [op for op in graph.get_operations() if op.op_def.is_stateful]
    while waiting:
        op = waiting.pop()
        if op.name not in found:
            found.add(op.name)
            waiting += [user for tensor in op.outputs for user in tensor.consumers()]
    return found


def _named(op: Any) -> str:
    return f"{op.name.removeprefix('rows/')} ({op.type})"


def _is_known(tensor: Any, axis: int | str | None) -> bool:
    if tensor.shape.rank is None or not isinstance(axis, int):
        return bool(tensor.shape.is_fully_defined())
    return axis >= tensor.shape.rank or size_of(tensor, axis) is not None


def _behind_value(tensor: Any) -> Iterator[Task]:
    op = tensor.op
    if op.type in _SIZES:
        yield from ((one, None) for one in op.inputs)
    elif op.type.startswith("TensorArraySize"):
        array = made_by(op.inputs[0])
        if array is not None and not array.get_attr("dynamic_size"):
            yield array.inputs[0], VALUE
        else:
            # As many as a loop has written.
            yield from ((one, VALUE) for one in op.inputs)
            yield from loop_conditions(op.graph)
    else:
        yield from ((one, VALUE) for one in op.inputs)


def _behind_size(tensor: Any, axis: int | str | None) -> Iterator[Task]:
    op = tensor.op
    yield from ((op.inputs[position], VALUE) for position in _SHAPES.get(op.type, ()))
    if op.type.startswith("TensorArray"):
        yield from behind_tensor_array(op, axis)
    elif op.type in {"While", "StatelessWhile"}:
        yield op.inputs[tensor.value_index], axis
    elif op.type.startswith("TensorList") and axis in (0, None):
        yield length_of_list(op.inputs[0]), VALUE
    elif op.type in {"Fill", "Range", "LinSpace"} or op.type.startswith("Random"):
        return
    elif op.type == "Transpose":
        yield op.inputs[0], _permute_axis(op.inputs[1], axis)
    elif op.type in {"Gather", "GatherV2", "ResourceGather"}:
        yield from _behind_gather(op, axis)
    elif op.type == "MatMul" and isinstance(axis, int):
        # Rows are the first one's, columns the second one's.
        turned = op.get_attr("transpose_b" if axis else "transpose_a")
        yield op.inputs[axis], 1 - axis if turned else axis
    elif op.type in _REDUCTIONS:
        yield op.inputs[0], _unreduced(op, axis)
    elif op.type == "Switch":
        yield op.inputs[0], axis
    else:
        yield from ((one, _align_axis(tensor, one, axis)) for one in op.inputs)


def _align_axis(result: Any, source: Any, axis: int | str | None) -> int | None:
    """Returns the dimension of an input that a dimension of the result is most likely from."""
    shifts = {
        "Reshape", "ExpandDims", "Squeeze", "Pack", "Unpack", "GatherNd", "StridedSlice",
        "Einsum", "BatchMatMulV2", "MatMul", "ScatterNd", "TensorListStack", "TensorListGetItem",
    }  # fmt: skip
    if not isinstance(axis, int) or result.op.type in shifts:
        return None
    ranks = result.shape.rank, source.shape.rank
    same = None not in ranks and ranks[0] == ranks[1]
    return axis if same or len(result.op.inputs) == 1 else None


def _permute_axis(permutation: Any, axis: int | str | None) -> int | None:
    import tensorflow.compat.v1 as tf

    order = tf.get_static_value(permutation)
    return int(order[axis]) if order is not None and isinstance(axis, int) else None


def _unreduced(op: Any, axis: int | str | None) -> int | None:
    """Returns the dimension of what is reduced that a dimension of the result is."""
    import tensorflow.compat.v1 as tf

    rank, reduced = op.inputs[0].shape.rank, tf.get_static_value(op.inputs[1])
    if reduced is None or not isinstance(axis, int) or (rank is None and reduced.min() < 0):
        return None
    if "keep_dims" in op.node_def.attr and op.get_attr("keep_dims"):
        return axis
    gone = {int(one) % (rank or _MAX_RANK) for one in reduced.reshape(-1)}
    kept = [one for one in range(rank or _MAX_RANK) if one not in gone]
    return kept[axis] if axis < len(kept) else None


def _behind_gather(op: Any, axis: int | str | None) -> Iterator[Task]:
    import tensorflow.compat.v1 as tf

    along = tf.get_static_value(op.inputs[2]) if op.type == "GatherV2" else 0
    batch = op.get_attr("batch_dims") if op.type == "GatherV2" else 0
    if isinstance(axis, int) and along == 0 and not batch and op.inputs[1].shape.rank is not None:
        rank = op.inputs[1].shape.rank
        yield (op.inputs[1], axis) if axis < rank else (op.inputs[0], axis - rank + 1)
        return
    yield op.inputs[0], None
    yield op.inputs[1], None
