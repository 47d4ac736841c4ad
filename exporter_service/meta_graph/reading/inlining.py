"""Function calls become the nodes of their function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorflow.python.framework import op_def_registry

from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port, port_of
from service_kit import errors

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# A library that calls itself in a circle would go on for ever.
_DEEPEST = 64
# Functions that call others twice each double with every level.
_MAX_INLINED = 100_000


def inline_calls(graph: NodeGraph, names: set[str]) -> bool:
    """Inlines, in place, the calls among some nodes; returns whether there were any.

    Raises:
        MetaGraphUnusable: a function is absent or calls itself in a circle.
    """
    passed: dict[Port, Port] = {}
    for name in sorted(names):
        node = graph.nodes[name]
        if node.op in _CALLS:
            passed |= inline_call(graph, name, node.attr["f"].func.name, graph.inputs(name))
        elif node.op in graph.library:
            passed |= inline_call(graph, name, node.op, graph.inputs(name))
    graph.replace_all(passed)
    return bool(passed)


def inline_call(
    graph: NodeGraph, name: str, function: str, arguments: Sequence[Port]
) -> dict[Port, Port]:
    """Puts a function's nodes below the call's name; the call passes their results on.

    Returns the call's ports with their results, for consumers to take at once.

    Raises:
        MetaGraphUnusable: the library has no such function, it cannot be read, or it calls
            itself.
    """
    definition = _definition(graph, name, function, len(arguments))
    signature = definition.signature
    given = {arg.name: port for arg, port in zip(signature.input_arg, arguments, strict=True)}
    bodies = {inner.name: inner for inner in definition.node_def}
    moved = {inner: f"{name}/inlined/{inner}" for inner in bodies}
    for inner, body in bodies.items():
        node = graph.add(body.op, moved[inner])
        moved[inner] = node.name
        node.attr.MergeFrom(body.attr)
        node.device = body.device

    def outer(text: str) -> str:
        if text.startswith("^"):
            inner = text[1:]
            return f"^{moved[inner] if inner in moved else given[inner].node}"
        return str(_outer_port(text, given, bodies, moved, graph))

    try:
        for inner, body in bodies.items():
            graph.nodes[moved[inner]].input.extend(outer(text) for text in body.input)
        results = [port_of(outer(definition.ret[out.name])) for out in signature.output_arg]
    except (KeyError, ValueError, IndexError) as error:
        raise errors.MetaGraphUnusable(
            f"the function {function} cannot be read: {error!r}"
        ) from error
    _pass_on(graph.nodes[name], results, [out.type for out in signature.output_arg])
    return {Port(name, number): result for number, result in enumerate(results)}


def _definition(graph: NodeGraph, name: str, function: str, given: int) -> Any:
    """Returns the function that a call names, if the call can be put in its place."""
    definition = graph.library.get(function)
    if definition is None:
        raise errors.MetaGraphUnusable(
            f"{name} calls the function {function}, which the graph does not have"
        )
    if len(graph.nodes) > graph.at_first + _MAX_INLINED:
        raise errors.MetaGraphUnusable(
            f"the graph's functions become more than {_MAX_INLINED} nodes when they are put in "
            "their place: it is not a graph to be served"
        )
    # Each level adds its part to the name, so a circle shows in the name's depth.
    if name.count("/inlined/") >= _DEEPEST:
        raise errors.MetaGraphUnusable(f"the function {function} calls itself in a circle")
    taken = len(definition.signature.input_arg)
    if given != taken:
        raise errors.MetaGraphUnusable(
            f"{name} gives {given} values to {function}, which takes {taken}"
        )
    return definition


def _outer_port(
    text: str,
    given: dict[str, Port],
    bodies: dict[str, Any],
    moved: dict[str, str],
    graph: NodeGraph,
) -> Port:
    """Functions write `argument`, or `node:output:index` with the output's name."""
    first, *rest = text.split(":")
    if not rest:
        return given[first] if first in given else Port(moved[first])
    body = bodies[first]
    outputs = (
        graph.library[body.op].signature
        if body.op in graph.library
        else op_def_registry.get(body.op)
    )
    if outputs is None:
        raise ValueError(f"op {body.op} is not registered")
    flat = 0
    for output in outputs.output_arg:
        if output.name == rest[0]:
            return Port(moved[first], flat + int(rest[1]))
        flat += _count(output, body)
    raise ValueError(f"{body.op} has no output {rest[0]}")


def _count(output: Any, node: Any) -> int:
    if output.type_list_attr:
        return len(node.attr[output.type_list_attr].list.type)
    return int(node.attr[output.number_attr].i) if output.number_attr else 1


def _pass_on(node: Any, results: Sequence[Port], types: Sequence[int]) -> None:
    """Leaves the call's name to its results: an output may be asked for by it."""
    node.op = "IdentityN" if results else "NoOp"
    del node.input[:]
    node.input.extend(map(str, results))
    node.attr.clear()
    if results:
        node.attr["T"].list.type.extend(types)
