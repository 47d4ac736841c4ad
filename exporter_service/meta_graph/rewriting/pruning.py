"""Cuts a graph down to what its outputs are computed from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from service_kit import errors

# Control inputs from these are no order of execution: they say which frame or branch a node
# without data inputs belongs to.
_PIVOTS = frozenset(["Switch", "RefSwitch", "Merge", "RefMerge", "LoopCond", "Enter", "RefEnter"])
# Ops on variables themselves, whose values are constants soon, and ops of the first releases.
_TODAYS = {
    "Variable": "VariableV2", "RefIdentity": "Identity", "RefEnter": "Enter",
    "RefSwitch": "Switch", "RefMerge": "Merge", "RefExit": "Exit",
    "RefNextIteration": "NextIteration",
}  # fmt: skip
_TALKING = frozenset(["Print", "CheckNumerics", "CheckNumericsV2"])
# Attributes for the runtime; the rest of those with an underscore described the training.
_KEPT = frozenset(["_lower_using_switch_merge"])


def pruned(graph: NodeGraph, outputs: Iterable[Port], cut: Iterable[Port]) -> NodeGraph:
    """Returns a new graph with the nodes that the outputs need, without anything before the cut.

    Control inputs, colocation, devices and the annotations of training are dropped. A consumer
    of a cut port still names it.

    Raises:
        MetaGraphUnusable: the functions call each other in a circle.
    """
    names = needed(graph, outputs, set(cut))
    definition = tf.GraphDef()
    definition.versions.CopyFrom(graph.definition.versions)
    for name, node in graph.nodes.items():
        if name in names:
            definition.node.add().CopyFrom(_clean(graph, node, names))
    for function in reachable_functions(graph, definition.node):
        definition.library.function.add().CopyFrom(graph.library[function])
    return NodeGraph(definition)


def needed(graph: NodeGraph, outputs: Iterable[Port], cut: set[Port]) -> set[str]:
    """Returns the nodes that outputs are computed from, and the pivots of their control flow."""
    found: set[str] = set()
    waiting = [port.node for port in outputs if port not in cut]
    while waiting:
        name = waiting.pop()
        if name in found or name not in graph.nodes:
            continue
        found.add(name)
        waiting.extend(port.node for port in graph.inputs(name) if port not in cut)
        waiting.extend(_structural(graph, name))
    return found


def reachable_functions(graph: NodeGraph, nodes: Iterable[Any]) -> list[str]:
    """Returns the functions that some nodes call, and those that these call.

    Raises:
        MetaGraphUnusable: they call each other in a circle, which would never end.
    """
    found: dict[str, None] = {}
    open_: set[str] = set()

    def visit(inner: Iterable[Any]) -> None:
        for node in inner:
            for name in _called(graph, node):
                if name in open_:
                    raise errors.MetaGraphUnusable(
                        f"the function library is a circle: {name} calls itself"
                    )
                if name not in found:
                    open_.add(name)
                    visit(graph.library[name].node_def)
                    open_.discard(name)
                    found[name] = None

    try:
        visit(nodes)
    except RecursionError:
        raise errors.MetaGraphUnusable("the function library is nested too deep") from None
    return list(found)


def _called(graph: NodeGraph, node: Any) -> Sequence[str]:
    names = [node.op]
    for attribute in node.attr.values():
        names.append(attribute.func.name)
        names.extend(function.name for function in attribute.list.func)
    return [name for name in names if name in graph.library]


def _clean(graph: NodeGraph, node: Any, names: set[str]) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    data = [text for text in node.input if not text.startswith("^")]
    pivots = [f"^{pivot}" for pivot in _structural(graph, node.name) if pivot in names]
    del copy.input[:]
    copy.input.extend(data + pivots)
    copy.device = ""
    for key in [key for key in copy.attr if key.startswith("_") and key not in _KEPT]:
        del copy.attr[key]
    copy.op = _TODAYS.get(copy.op, copy.op)
    if copy.op in _TALKING:
        # They print or raise, and pass their first input on.
        dtype = copy.attr["T"].type
        copy.op = "Identity"
        del copy.input[1:]
        copy.attr.clear()
        copy.attr["T"].type = dtype
    return copy


def _structural(graph: NodeGraph, name: str) -> list[str]:
    return [control for control in graph.controls(name) if _is_pivot(graph, control)]


def _is_pivot(graph: NodeGraph, name: str) -> bool:
    node = graph.nodes.get(name)
    if node is None:
        return False
    if node.op == "Identity":
        source = graph.input(name, 0)
        return source is not None and graph.op(source) in _PIVOTS
    return node.op in _PIVOTS
