"""Dropout of a training graph passes its input on, as it does in inference.

A dropout, in all forms that TensorFlow 1 and 2 write, scales a tensor x by 1/keep and either
multiplies it by a mask or selects by it; the mask compares uniform noise with the rate, or adds
the keep probability to the noise and takes the floor.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from exporter_service.meta_graph.constants import constant_value
from exporter_service.meta_graph.node_graph import NodeGraph, Port

UNIFORM = frozenset(
    ["RandomUniform", "StatelessRandomUniform", "StatelessRandomUniformV2",
     "StatefulUniform"]
)  # fmt: skip
_COMPARISONS = ("GreaterEqual", "Greater", "Less", "LessEqual")
_PASSING = frozenset(["Identity", "Cast", "StopGradient", "CheckNumerics"])
_SUMS = frozenset(["Add", "AddV2"])
_NOISE = frozenset(["Add", "AddV2", "Mul", "Sub", "Identity", "Cast"])
_SELECTS = frozenset(["Select", "SelectV2"])
_DIVISIONS = frozenset(["RealDiv", "Div"])
# A scale is computed from a rate by few operations.
_MOST_SCALE_NODES = 20


def remove_dropouts(graph: NodeGraph, forward: set[str]) -> tuple[list[str], list[Port]]:
    """Lets, in place, every dropout among some nodes pass its input on.

    What looks like noise and is not understood stays, and is refused later by its name.

    Returns:
        The dropouts' nodes, and the ports that their rates or keep probabilities came by.
    """
    removed: list[str] = []
    thresholds: list[Port] = []
    for name in sorted(forward):
        node = graph.nodes[name]
        found = None
        if node.op == "Mul":
            found = _multiplied(graph, name)
        elif node.op in _SELECTS:
            found = _selected(graph, name)
        elif node.op in _DIVISIONS:
            found = _divided_after(graph, name)
        if found is not None:
            source, threshold = found
            graph.become_identity(name, source, node.attr["T"].type)
            removed.append(name)
            thresholds.append(threshold)
    return removed, thresholds


def _multiplied(graph: NodeGraph, name: str) -> tuple[Port, Port] | None:
    """Returns x, and the mask's threshold, of `x * scale * mask`."""
    left, right = graph.inputs(name)
    for scaled, mask in ((left, right), (right, left)):
        threshold = _threshold(graph, mask)
        source = threshold and _unscaled(graph, scaled, threshold)
        if threshold and source:
            return source, threshold
    return None


def _selected(graph: NodeGraph, name: str) -> tuple[Port, Port] | None:
    """Returns x, and the mask's threshold, of `select(mask, x * scale, 0)`."""
    mask, kept, dropped = graph.inputs(name)
    threshold = _threshold(graph, mask)
    if threshold is None or not _is_zero(graph, dropped):
        return None
    source = _unscaled(graph, kept, threshold)
    return (source, threshold) if source else None


def _divided_after(graph: NodeGraph, name: str) -> tuple[Port, Port] | None:
    """Returns x, and the mask's threshold, of `(x * mask) / keep`."""
    product, divisor = graph.inputs(name)
    if graph.op(product) != "Mul":
        return None
    left, right = graph.inputs(product.node)
    for source, mask in ((left, right), (right, left)):
        threshold = _threshold(graph, mask)
        if threshold is not None and _is_made_from(graph, divisor, threshold):
            return source, threshold
    return None


def _threshold(graph: NodeGraph, mask: Port) -> Port | None:
    """Returns the rate or keep probability that a mask compares noise with; None: no mask."""
    mask = graph.through(mask, _PASSING)
    op = graph.op(mask)
    if op == "Floor":
        mask = graph.through(graph.inputs(mask.node)[0], _PASSING)
        if graph.op(mask) not in _SUMS:
            return None
    elif op not in _COMPARISONS:
        return None
    left, right = graph.inputs(mask.node)
    if _is_noise(graph, left):
        return right
    return left if _is_noise(graph, right) else None


def _is_noise(graph: NodeGraph, port: Port) -> bool:
    """Whether a port is uniform noise, perhaps moved into another range."""
    seen = 0
    for leaf in _leaves(graph, port):
        op = graph.op(leaf)
        if op in UNIFORM:
            seen += 1
        elif op != "Const":
            return False
    return seen == 1


def _leaves(graph: NodeGraph, port: Port) -> Iterator[Port]:
    waiting, steps = [port], 0
    while waiting and steps < _MOST_SCALE_NODES:
        steps += 1
        one = waiting.pop()
        if graph.op(one) in _NOISE:
            waiting.extend(graph.inputs(one.node))
        else:
            yield one


def _unscaled(graph: NodeGraph, scaled: Port, threshold: Port) -> Port | None:
    """Returns x of `x / keep` or `x * (1 / keep)`; None when the scale is not the mask's."""
    scaled = graph.through(scaled, frozenset(["Identity"]))
    op = graph.op(scaled)
    if op in _DIVISIONS:
        source, divisor = graph.inputs(scaled.node)
        return source if _is_made_from(graph, divisor, threshold) else None
    if op == "Mul":
        left, right = graph.inputs(scaled.node)
        for source, scale in ((left, right), (right, left)):
            if _is_made_from(graph, scale, threshold):
                return source
    return None


def _is_made_from(graph: NodeGraph, scale: Port, threshold: Port) -> bool:
    """Whether a scale belongs to a mask's threshold: computed from it, or equal in value."""
    root = graph.through(threshold, _PASSING)
    if graph.op(root) == "Sub":
        # 1 - keep, or 1 - rate: what it was computed from counts.
        roots = {root.node, *(port.node for port in graph.inputs(root.node))}
    else:
        roots = {root.node}
    roots = {name for name in roots if graph.nodes[name].op != "Const" or name == root.node}
    cone = graph.ancestors([scale])
    if len(cone) <= _MOST_SCALE_NODES and roots & cone:
        return True
    rate, factor = constant_value(graph, threshold), constant_value(graph, scale)
    if rate is None or factor is None or rate.size != 1 or factor.size != 1:
        return False
    value, by = float(rate), float(factor)
    # The scale multiplies or divides, the threshold is a rate or a keep probability.
    kept = [one for one in (value, 1 - value) if one > 0]
    return any(np.isclose(by, one) or np.isclose(by, 1 / one) for one in kept)


def _is_zero(graph: NodeGraph, port: Port) -> bool:
    if graph.op(port) in {"ZerosLike", "Fill"}:
        return True
    value = constant_value(graph, port)
    return value is not None and not value.any()
