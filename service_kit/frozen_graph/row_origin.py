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

# A dimension of a tensor (None: any of them), or what the tensor holds.
_Task = tuple[Any, int | str | None]
_VALUE = "value"

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
_CONDITIONS = frozenset(["If", "StatelessIf", "Case", "StatelessCase"])
_TENSOR_ARRAYS = ("TensorArrayWrite", "TensorArrayScatter", "TensorArrayUnpack", "TensorArraySplit")


def data_behind_rows(output: Any, fed: Sequence[Any]) -> str:
    """Returns the op that makes the number of rows of `output` depend on data; empty: none does.

    Args:
        output: a tensor of a `tf.Graph` whose first dimension is not known.
        fed: the tensors that requests bring.
    """
    fed_names = {tensor.name for tensor in fed}
    waiting: list[tuple[_Task, str]] = [((output, 0), "")]
    seen: set[tuple[str, int | str | None]] = set()
    while waiting:
        (tensor, part), through = waiting.pop()
        if (tensor.name, part) in seen:
            continue
        seen.add((tensor.name, part))
        if part == _VALUE:
            if tensor.name in fed_names:
                return through
            steps = _behind_value(tensor)
        elif tensor.name in fed_names or _is_known(tensor, part):
            continue
        elif (
            _DATA.fullmatch(tensor.op.type)
            or _branches_differ(tensor, part)
            or _calls_data_op(tensor.op)
        ):
            return _named(tensor.op)
        else:
            steps = _behind_size(tensor, part)
            # What a shape is computed from is told by the op that takes the shape.
            through = _named(tensor.op)
        waiting.extend((step, through) for step in steps)
    return ""


def _named(op: Any) -> str:
    return f"{op.name.removeprefix('rows/')} ({op.type})"


def _is_known(tensor: Any, axis: int | str | None) -> bool:
    if tensor.shape.rank is None or not isinstance(axis, int):
        return bool(tensor.shape.is_fully_defined())
    return axis >= tensor.shape.rank or _size(tensor, axis) is not None


def _size(tensor: Any, axis: int | str | None) -> int | None:
    """Returns the size of a dimension, as far as shape inference knows it."""
    if not isinstance(axis, int) or tensor.shape.rank is None or axis >= tensor.shape.rank:
        return None
    size: int | None = tensor.shape.as_list()[axis]
    return size


def _calls_data_op(op: Any) -> bool:
    """Whether a function that an op calls, or one that this calls, has such an op."""
    if not any(value.HasField("func") for value in op.node_def.attr.values()):
        return False
    library = _library(op.graph)
    waiting, seen = [op.node_def], set[str]()
    while waiting:
        node = waiting.pop()
        if _DATA.fullmatch(node.op):
            return True
        called = {value.func.name for value in node.attr.values() if value.HasField("func")}
        for name in called & library.keys() - seen:
            seen.add(name)
            waiting.extend(library[name].node_def)
    return False


def _library(graph: Any) -> dict[str, Any]:
    return {one.signature.name: one for one in graph.as_graph_def().library.function}


def _branches_differ(tensor: Any, axis: int | str | None) -> bool:
    """Whether a condition chooses between numbers of rows."""
    op = tensor.op
    if op.type in _CONDITIONS:
        sizes = {_size(one, axis) for one in _outputs_of_branches(tensor)}
        return len(sizes) != 1 or None in sizes
    if op.type != "Merge" or any(one.op.type == "NextIteration" for one in op.inputs):
        return False
    return len({_size(one, axis) for one in op.inputs}) > 1


def _outputs_of_branches(tensor: Any) -> list[Any]:
    """Returns the tensor in each function that a condition may call; empty: it cannot be had."""
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    op = tensor.op
    functions = _library(op.graph)
    shapes = [one.shape for one in op.inputs[1:]]
    found = []
    for value in op.node_def.attr.values():
        for called in (*([value.func] if value.HasField("func") else ()), *value.list.func):
            if called.name not in functions:
                return []
            function = type(functions[called.name])()
            function.CopyFrom(functions[called.name])
            # They know nothing of this batch, and would be believed.
            function.arg_attr.clear()
            try:
                with op.graph.as_default():
                    branch = function_def_to_graph(function, input_shapes=shapes)
                found.append(branch.outputs[tensor.value_index])
            # A function of functions may need what is not registered here.
            except (ValueError, KeyError, IndexError):
                return []
    return found


def _behind_value(tensor: Any) -> Iterator[_Task]:
    op = tensor.op
    if op.type in _SIZES:
        yield from ((one, None) for one in op.inputs)
    elif op.type.startswith("TensorArraySize"):
        array = _tensor_array(op.inputs[0])
        if array is not None and not array.get_attr("dynamic_size"):
            yield array.inputs[0], _VALUE
        else:
            # As many as a loop has written.
            yield from ((one, _VALUE) for one in op.inputs)
            yield from _conditions(op.graph)
    else:
        yield from ((one, _VALUE) for one in op.inputs)


def _behind_size(tensor: Any, axis: int | str | None) -> Iterator[_Task]:
    op = tensor.op
    yield from ((op.inputs[position], _VALUE) for position in _SHAPES.get(op.type, ()))
    if op.type.startswith("TensorArray"):
        yield from _behind_tensor_array(op, axis)
    elif op.type in {"While", "StatelessWhile"}:
        yield op.inputs[tensor.value_index], axis
    elif op.type.startswith("TensorList") and axis in (0, None):
        yield _length_of_list(op.inputs[0]), _VALUE
    elif op.type in {"Fill", "Range", "LinSpace"} or op.type.startswith("Random"):
        return
    elif op.type == "Transpose":
        yield op.inputs[0], _permuted(op.inputs[1], axis)
    elif op.type in {"Gather", "GatherV2", "ResourceGather"}:
        yield from _behind_gather(op, axis)
    elif op.type == "Switch":
        yield op.inputs[0], axis
    else:
        yield from ((one, _aligned(tensor, one, axis)) for one in op.inputs)


def _aligned(result: Any, source: Any, axis: int | str | None) -> int | None:
    """Returns the dimension of an input that a dimension of the result is most likely from."""
    shifts = {
        "Reshape", "ExpandDims", "Squeeze", "Pack", "Unpack", "GatherNd", "StridedSlice",
        "Einsum", "BatchMatMulV2", "MatMul", "ScatterNd", "TensorListStack", "TensorListGetItem",
    }  # fmt: skip
    ranks = result.shape.rank, source.shape.rank
    if not isinstance(axis, int) or result.op.type in shifts or None in ranks:
        return None
    return axis if ranks[0] == ranks[1] else None


def _permuted(permutation: Any, axis: int | str | None) -> int | None:
    import tensorflow.compat.v1 as tf

    order = tf.get_static_value(permutation)
    return int(order[axis]) if order is not None and isinstance(axis, int) else None


def _behind_gather(op: Any, axis: int | str | None) -> Iterator[_Task]:
    import tensorflow.compat.v1 as tf

    along = tf.get_static_value(op.inputs[2]) if op.type == "GatherV2" else 0
    batch = op.get_attr("batch_dims") if op.type == "GatherV2" else 0
    if isinstance(axis, int) and along == 0 and not batch and op.inputs[1].shape.rank is not None:
        rank = op.inputs[1].shape.rank
        yield (op.inputs[1], axis) if axis < rank else (op.inputs[0], axis - rank + 1)
        return
    yield op.inputs[0], None
    yield op.inputs[1], None


def _behind_tensor_array(op: Any, axis: int | str | None) -> Iterator[_Task]:
    """Yields what gives a tensor from an array its size: the indices, and what was written."""
    if op.type.startswith("TensorArrayGather"):
        if axis in (0, None):
            yield op.inputs[1], 0
        below = axis - 1 if isinstance(axis, int) and axis else None
    elif op.type.startswith(("TensorArrayConcat", "TensorArrayPack")):
        yield op.inputs[0], _VALUE
        below = None
    else:
        below = axis if isinstance(axis, int) else None
    if axis == 0 and op.type.startswith("TensorArrayGather"):
        return
    array = _tensor_array(op.inputs[0])
    for other in op.graph.get_operations():
        if other.type.startswith(_TENSOR_ARRAYS) and _tensor_array(other.inputs[0]) is array:
            value = next(one for one in other.inputs[1:] if one.dtype == op.outputs[0].dtype)
            whole = not other.type.startswith("TensorArrayWrite")
            yield value, below + 1 if whole and below is not None else below


def _tensor_array(handle: Any) -> Any:
    """Returns the op that made an array."""
    seen = set()
    while not handle.op.type.startswith("TensorArray") and handle.op.inputs:
        if handle.name in seen:
            return None
        seen.add(handle.name)
        handle = handle.op.inputs[0]
    return handle.op if re.fullmatch(r"TensorArray(V2|V3)?", handle.op.type) else None


def _length_of_list(handle: Any) -> Any:
    """Returns the tensor that says how long a list is, or the list where a loop makes it longer."""
    grows = any(
        node.op == "TensorListPushBack" or node.attr["resize_if_index_out_of_bounds"].b
        for function in _library(handle.graph).values()
        for node in function.node_def
    )
    source = handle
    while source.op.type in {"While", "StatelessWhile", "Identity"}:
        source = source.op.inputs[source.value_index]
    return source.op.inputs[1] if source.op.type == "TensorListReserve" and not grows else handle


def _conditions(graph: Any) -> Iterator[_Task]:
    """Yields what decides how often loops run."""
    for op in graph.get_operations():
        if op.type == "LoopCond":
            yield op.inputs[0], _VALUE
