"""Dropout of a training graph passes its input on, as it does in inference.

A dropout, in all forms that TensorFlow 1 and 2 write, scales a tensor x by 1/keep and either
multiplies it by a mask or selects by it; the mask compares uniform noise with the rate, or adds
the keep probability to the noise and takes the floor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from exporter_service.meta_graph.reading.constants import constant_value
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import UNIFORM
from service_kit import errors

# Whether noise on the left of a comparison keeps an element by being the greater.
_COMPARISONS = {"GreaterEqual": True, "Greater": True, "Less": False, "LessEqual": False}
_PASSING = frozenset(["Identity", "Cast", "StopGradient", "CheckNumerics", "Enter", "RefEnter"])
_SUMS = frozenset(["Add", "AddV2"])
_NOISE = frozenset(["Add", "AddV2", "Mul", "Sub", "Identity", "Cast", "Enter"])
_SELECTS = frozenset(["Select", "SelectV2"])
_DIVISIONS = frozenset(["RealDiv", "Div"])
# A scale is computed from a rate by few operations.
_MAX_SCALE_NODES = 20


@dataclass(frozen=True, slots=True)
class Dropout:
    """A dropout.

    Attributes:
        node: its last one.
        source: what it takes, and passes on without its mask.
        threshold: where its rate comes from.
        nothing: the rate that drops nothing.
        noise: the node that makes its random numbers.
    """

    node: str
    source: Port
    threshold: Port
    nothing: float
    noise: str


def remove_dropouts(graph: NodeGraph, forward: set[str]) -> list[Dropout]:
    """Lets, in place, every dropout among some nodes pass its input on, and returns them.

    What looks like noise and is not understood stays, and is refused later by its name.
    """
    removed: list[Dropout] = []
    for name in sorted(forward):
        found = _dropout(graph, name)
        if found is not None:
            graph.become_identity(name, found.source, graph.nodes[name].attr["T"].type)
            removed.append(found)
    return removed


def keep_dropouts(graph: NodeGraph, forward: set[str]) -> list[Dropout]:
    """Gives, in place, every dropout among some nodes a seed, so that sessions can be compared.

    Raises:
        Unconvertible: there is none.
    """
    kept = [found for name in sorted(forward) if (found := _dropout(graph, name)) is not None]
    if not kept:
        raise errors.Unconvertible(
            "leave out keep_dropout: the outputs depend on no dropout; if a phase has taken it "
            "out, bind that phase to training"
        )
    for number, noise in enumerate(sorted({one.noise for one in kept}), 1):
        attributes = graph.nodes[noise].attr
        # Others have their seeds as inputs.
        has_seeds = graph.nodes[noise].op == "RandomUniform"
        if has_seeds and not (attributes["seed"].i or attributes["seed2"].i):
            attributes["seed"].i = attributes["seed2"].i = number
    return kept


def _dropout(graph: NodeGraph, name: str) -> Dropout | None:
    node = graph.nodes[name]
    found = None
    if node.op == "Mul":
        found = _multiplied(graph, name)
    elif node.op in _SELECTS:
        found = _selected(graph, name)
    elif node.op in _DIVISIONS:
        found = _divided_after(graph, name)
    if found is not None:
        source, mask = found
        return Dropout(name, source, mask.threshold, mask.nothing, mask.noise)
    return None


def _multiplied(graph: NodeGraph, name: str) -> tuple[Port, _Mask] | None:
    """Returns x, and the mask, of `x * scale * mask`."""
    left, right = graph.inputs(name)
    for scaled, port in ((left, right), (right, left)):
        mask = _mask(graph, port)
        source = mask and _unscaled(graph, scaled, mask.threshold)
        if mask and source:
            return source, mask
    return None


def _selected(graph: NodeGraph, name: str) -> tuple[Port, _Mask] | None:
    """Returns x, and the mask, of `select(mask, x * scale, 0)`."""
    port, kept, dropped = graph.inputs(name)
    mask = _mask(graph, port)
    if mask is None or not _is_zero(graph, dropped):
        return None
    source = _unscaled(graph, kept, mask.threshold)
    return (source, mask) if source else None


def _divided_after(graph: NodeGraph, name: str) -> tuple[Port, _Mask] | None:
    """Returns x, and the mask, of `(x * mask) / keep`."""
    product, divisor = graph.inputs(name)
    if graph.op(product) != "Mul":
        return None
    left, right = graph.inputs(product.node)
    for source, port in ((left, right), (right, left)):
        mask = _mask(graph, port)
        if mask is not None and _is_made_from(graph, divisor, mask.threshold):
            return source, mask
    return None


@dataclass(frozen=True, slots=True)
class _Mask:
    """What noise is compared with, the value of it that keeps everything, and the noise's node."""

    threshold: Port
    nothing: float
    noise: str


def _mask(graph: NodeGraph, port: Port) -> _Mask | None:
    port = graph.through(port, _PASSING)
    op = graph.op(port)
    if op == "Floor":
        port = graph.through(graph.inputs(port.node)[0], _PASSING)
        if graph.op(port) not in _SUMS:
            return None
        left, right = graph.inputs(port.node)
        if noise := _noise(graph, left):
            return _Mask(right, 1.0, noise)
        noise = _noise(graph, right)
        return _Mask(left, 1.0, noise) if noise else None
    if op not in _COMPARISONS:
        return None
    left, right = graph.inputs(port.node)
    # Noise that must be the greater keeps everything above 0, one that must be less below 1.
    if noise := _noise(graph, left):
        return _Mask(right, 0.0 if _COMPARISONS[op] else 1.0, noise)
    noise = _noise(graph, right)
    return _Mask(left, 1.0 if _COMPARISONS[op] else 0.0, noise) if noise else None


def _noise(graph: NodeGraph, port: Port) -> str:
    """Returns the node of uniform noise, perhaps moved into another range; empty: it is none."""
    seen = []
    for leaf in _leaves(graph, port):
        op = graph.op(leaf)
        if op in UNIFORM:
            seen.append(leaf.node)
        elif op != "Const":
            return ""
    return seen[0] if len(seen) == 1 else ""


def _leaves(graph: NodeGraph, port: Port) -> Iterator[Port]:
    waiting, steps = [port], 0
    while waiting and steps < _MAX_SCALE_NODES:
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
    if roots & _small_cone(graph, scale):
        return True
    rate, factor = constant_value(graph, threshold), constant_value(graph, scale)
    if rate is None or factor is None or rate.size != 1 or factor.size != 1:
        return False
    value, by = float(rate), float(factor)
    # The scale multiplies or divides, the threshold is a rate or a keep probability.
    kept = [one for one in (value, 1 - value) if one > 0]
    return any(np.isclose(by, one) or np.isclose(by, 1 / one) for one in kept)


def _small_cone(graph: NodeGraph, port: Port) -> set[str]:
    """Returns what a port is computed from; nothing if that is much, and so no scale."""
    found: set[str] = set()
    waiting = [port.node]
    while waiting:
        name = waiting.pop()
        if name not in found and name in graph.nodes:
            found.add(name)
            waiting.extend(one.node for one in graph.inputs(name))
        if len(found) > _MAX_SCALE_NODES:
            return set()
    return found


def _is_zero(graph: NodeGraph, port: Port) -> bool:
    if graph.op(port) in {"ZerosLike", "Fill"}:
        return True
    value = constant_value(graph, port)
    return value is not None and not value.any()
