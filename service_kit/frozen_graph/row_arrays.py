"""Arrays and lists that loops write: how long they are, and how large their elements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from service_kit.frozen_graph.row_branches import library

# A dimension of a tensor (None: any of them), or what the tensor holds.
Task = tuple[Any, int | str | None]
VALUE = "value"

_TENSOR_ARRAYS = ("TensorArrayWrite", "TensorArrayScatter", "TensorArrayUnpack", "TensorArraySplit")


def behind_tensor_array(op: Any, axis: int | str | None) -> Iterator[Task]:
    """Yields what gives a tensor from an array its size: the indices, and what was written."""
    if op.type.startswith("TensorArrayGather"):
        if axis in (0, None):
            yield op.inputs[1], 0
        below = axis - 1 if isinstance(axis, int) and axis else None
    elif op.type.startswith(("TensorArrayConcat", "TensorArrayPack")):
        yield op.inputs[0], VALUE
        below = None
    else:
        below = axis if isinstance(axis, int) else None
    if axis == 0 and op.type.startswith("TensorArrayGather"):
        return
    array = made_by(op.inputs[0])
    for other in op.graph.get_operations():
        if other.type.startswith(_TENSOR_ARRAYS) and made_by(other.inputs[0]) is array:
            whole = not other.type.startswith("TensorArrayWrite")
            for value in other.inputs[1:]:
                if value.dtype == op.outputs[0].dtype:
                    yield value, below + 1 if whole and below is not None else below


def made_by(handle: Any) -> Any:
    """Returns the op that made an array."""
    seen = set()
    while not handle.op.type.startswith("TensorArray") and handle.op.inputs:
        if handle.name in seen:
            return None
        seen.add(handle.name)
        handle = handle.op.inputs[0]
    return handle.op if re.fullmatch(r"TensorArray(V2|V3)?", handle.op.type) else None


def length_of_list(handle: Any) -> Any:
    """Returns the tensor that says how long a list is, or the list where a loop makes it longer."""
    grows = any(
        node.op == "TensorListPushBack" or node.attr["resize_if_index_out_of_bounds"].b
        for function in library(handle.graph).values()
        for node in function.node_def
    )
    source = handle
    while source.op.type in {"While", "StatelessWhile", "Identity"}:
        source = source.op.inputs[source.value_index]
    return source.op.inputs[1] if source.op.type == "TensorListReserve" and not grows else handle


def loop_conditions(graph: Any) -> Iterator[Task]:
    """Yields what decides how often loops run."""
    for op in graph.get_operations():
        if op.type == "LoopCond":
            yield op.inputs[0], VALUE
