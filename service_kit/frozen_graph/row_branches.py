"""Functions that a graph calls, and the branches of its conditions."""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakKeyDictionary

# Written out once for each graph, and not for each op that calls something.
_libraries: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()
_CONDITIONS = frozenset(["If", "StatelessIf", "Case", "StatelessCase"])


def size_of(tensor: Any, axis: int | str | None) -> int | None:
    """Returns the size of a dimension, as far as shape inference knows it."""
    if not isinstance(axis, int) or tensor.shape.rank is None or axis >= tensor.shape.rank:
        return None
    size: int | None = tensor.shape.as_list()[axis]
    return size


def calls(op: Any, wanted: re.Pattern[str]) -> bool:
    """Whether a function that an op calls, or one that this calls, has an op of these."""
    if not any(value.HasField("func") for value in op.node_def.attr.values()):
        return False
    functions = library(op.graph)
    waiting, seen = [op.node_def], set[str]()
    while waiting:
        node = waiting.pop()
        if wanted.fullmatch(node.op):
            return True
        called = {value.func.name for value in node.attr.values() if value.HasField("func")}
        for name in called & functions.keys() - seen:
            seen.add(name)
            waiting.extend(functions[name].node_def)
    return False


def library(graph: Any) -> dict[str, Any]:
    """Returns the functions of an imported `tf.Graph` by name."""
    if graph not in _libraries:
        functions = graph.as_graph_def().library.function
        _libraries[graph] = {one.signature.name: one for one in functions}
    return _libraries[graph]


def branches_differ(tensor: Any, axis: int | str | None) -> bool:
    """Whether a condition chooses between numbers of rows."""
    op = tensor.op
    if op.type in _CONDITIONS:
        sizes = {size_of(one, axis) for one in _outputs_of_branches(tensor)}
        return len(sizes) != 1 or None in sizes
    if op.type != "Merge" or any(one.op.type == "NextIteration" for one in op.inputs):
        return False
    return len({size_of(one, axis) for one in op.inputs}) > 1


def _outputs_of_branches(tensor: Any) -> list[Any]:
    """Returns the tensor in each function that a condition may call; empty: it cannot be had."""
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    op = tensor.op
    functions = library(op.graph)
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
