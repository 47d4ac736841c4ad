"""Ops that an artifact may run: those that compute from their inputs alone.

An artifact is somebody's program. What is not on the list is refused by name: files, network,
Python, debuggers, libraries that somebody has loaded. The list is data, so that a server without
TensorFlow can check a graph too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from service_kit import errors

_LIST = Path(__file__).with_name("allowed_ops.txt")
# Functions inside functions. Keras and `tf.function` nest a handful; TensorFlow follows them on
# its stack, which thousands overflow.
_MAX_DEPTH = 64
_MAX_NAMED = 3


def check_ops(graph: Any, widened: Collection[str] = ()) -> None:
    """Checks every op of a `GraphDef`, functions included.

    Args:
        graph: to be imported.
        widened: ops that the operator allows besides.

    Raises:
        GraphRefused: names the first ops that are not allowed, or functions that call themselves
            or are nested too deep.
    """
    functions = {one.signature.name for one in graph.library.function}
    listed = allowed_ops()
    refused: dict[str, str] = {}
    for op, place in _ops(graph):
        # A function cannot have an op's name: TensorFlow does not take it.
        if op not in listed and op not in widened and op not in functions:
            refused.setdefault(op, place)
    if refused:
        found = ", ".join(f"{op} ({place})" for op, place in list(refused.items())[:_MAX_NAMED])
        more = f" and {len(refused) - _MAX_NAMED} more" if len(refused) > _MAX_NAMED else ""
        raise errors.GraphRefused(
            "convert the graph without these ops, which may reach out of it; a server that has "
            f"such an artifact and trusts it runs it with --allow-op: {found}{more}"
        )
    _check_calls(graph)


@cache
def allowed_ops() -> frozenset[str]:
    """Returns the names of the ops on the list."""
    return frozenset(_LIST.read_text(encoding="utf-8").split())


def _ops(graph: Any) -> Iterator[tuple[str, str]]:
    for node in graph.node:
        yield from _of_node(node, f"node {node.name}")
    for function in graph.library.function:
        name = function.signature.name
        yield from ((op, f"function {name}") for op in _called(function.attr))
        for node in function.node_def:
            yield from _of_node(node, f"node {node.name} of function {name}")
    for gradient in graph.library.gradient:
        yield gradient.gradient_func, f"the gradient of {gradient.function_name}"


def _of_node(node: Any, place: str) -> Iterator[tuple[str, str]]:
    yield node.op, place
    yield from ((op, place) for op in _called(node.attr))


def _called(attributes: Any) -> Iterator[str]:
    # TensorFlow runs an op whose name stands where a branch or a body should be a function.
    for value in attributes.values():
        for one in (*([value.func] if value.HasField("func") else ()), *value.list.func):
            yield one.name
            yield from _called(one.attr)


def _check_calls(graph: Any) -> None:
    """Refuses functions that TensorFlow would follow until its stack is full."""
    calls = {
        function.signature.name: {
            name for node in function.node_def for name in (node.op, *_called(node.attr))
        }
        for function in graph.library.function
    }
    gradients = {one.function_name: one.gradient_func for one in graph.library.gradient}
    for name, gradient in gradients.items():
        calls.setdefault(name, set()).add(gradient)
    depth: dict[str, int] = {}
    for name in calls:
        _measure_depth(name, calls, depth)


def _measure_depth(start: str, calls: Mapping[str, set[str]], depth: dict[str, int]) -> None:
    """Enters into `depth` how many functions lie below each other from `start` on."""
    path: dict[str, Iterator[str]] = {start: iter(calls[start])}
    while path:
        name, waiting = next(reversed(path.items()))
        called = next((one for one in waiting if one in calls and one not in depth), None)
        if called is None:
            path.popitem()
            depth[name] = 1 + max((depth.get(one, 0) for one in calls[name]), default=0)
        elif called in path:
            raise errors.GraphRefused(f"convert the graph anew: its function {called} calls itself")
        else:
            path[called] = iter(calls[called])
        if len(path) > _MAX_DEPTH or depth.get(name, 0) > _MAX_DEPTH:
            raise errors.GraphRefused(
                f"convert the graph anew: its functions are nested more than {_MAX_DEPTH} deep, "
                f"from {start} on"
            )
