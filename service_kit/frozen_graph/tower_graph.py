"""Cuts the towers that are wanted out of a frozen graph, copies them, and pins them to devices.

Works on the graph's message alone. Constants are shared by all towers, so a copy costs nodes
and no weights.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec, Tower

Node = Any
# Says nothing about what a node computes.
_IGNORED_ATTRIBUTES = frozenset({"_class", "_output_shapes", "_xla_inferred_shapes"})
# The name of the loop that a node enters: says nothing either, but ties nodes together.
_FRAME = "frame_name"


@dataclass(frozen=True, slots=True)
class PinnedTower:
    """A tower and the TensorFlow device that its nodes run on; empty: wherever."""

    tower: Tower
    device: str


@dataclass(frozen=True, slots=True)
class Ports:
    """Names of the tensors to feed and to fetch, in the order of the tower's specs."""

    feeds: tuple[str, ...]
    fetches: tuple[str, ...]


class TowerGraph:
    """A frozen graph with its nodes by name."""

    def __init__(self, graph: Any) -> None:
        """Reads a `GraphDef`, and keeps it."""
        self._graph = graph
        self._nodes: dict[str, Node] = {node.name: node for node in graph.node}

    def are_equal(self, one: Tower, other: Tower) -> bool:
        """Whether two towers compute the same, except for names and devices.

        Raises:
            EngineFailed: a tensor is not in the graph.
        """
        if _signature(one) != _signature(other):
            return False
        pairs = [
            *zip(_names(one.inputs), _names(other.inputs), strict=True),
            *zip(_names(one.outputs), _names(other.outputs), strict=True),
        ]
        if all(left == right for left, right in pairs):
            return True
        inputs = _inputs(one) | _inputs(other)
        # One to one: two random nodes are not the same as one that is read twice.
        nodes, frames = _OneToOne(), _OneToOne()
        while pairs:
            (left, left_port), (right, right_port) = map(_split, pairs.pop())
            known = left in nodes
            if left_port != right_port or not nodes.match(left, right):
                return False
            if known:
                continue
            a, b = self._node(left), self._node(right)
            # What both read must not depend on what is fed to either.
            if a is b and left in inputs:
                return False
            same = a is b or _compute_the_same(a, b)
            if not same or not frames.match(_frame(a), _frame(b)):
                return False
            pairs.extend(zip(a.input, b.input, strict=True))
        return True

    def pinned(self, towers: Sequence[PinnedTower]) -> tuple[Any, list[Ports]]:
        """Returns a graph with these towers alone, and the tensors of each.

        Towers on one device share the nodes that they have in common; a node that is needed
        on several devices is copied. Constants that wait for nothing stay unpinned: TensorFlow
        puts them beside what reads them.

        Raises:
            EngineFailed: a tensor is not in the graph.
        """
        from tensorflow.core.framework import graph_pb2

        made = graph_pb2.GraphDef(versions=self._graph.versions, library=self._graph.library)
        # Original name -> device -> name in the new graph.
        placed: dict[str, dict[str, str]] = {}
        taken = set(self._nodes)
        ports = []
        for number, wanted in enumerate(towers):
            names = dict(self._placed_tower(number, wanted, placed, taken))
            for name, new_name in names.items():
                node = self._nodes[name]
                on_device = placed.setdefault(name, {})
                device = _device(node, wanted)
                if device in on_device:
                    continue
                on_device[device] = new_name
                copy = made.node.add()
                copy.CopyFrom(node)
                copy.name, copy.device = new_name, device
                # Names of nodes that may not be here, or are elsewhere.
                copy.attr.pop("_class", None)
                if _FRAME in copy.attr:
                    # A loop and its copy are two.
                    copy.attr[_FRAME].s += device.encode()
                for position, source in enumerate(copy.input):
                    copy.input[position] = _rename(source, names)
            ports.append(
                Ports(
                    tuple(_rename(name, names) for name in _names(wanted.tower.inputs)),
                    tuple(_rename(name, names) for name in _names(wanted.tower.outputs)),
                )
            )
        return made, ports

    def _placed_tower(
        self,
        number: int,
        wanted: PinnedTower,
        placed: Mapping[str, Mapping[str, str]],
        taken: Collection[str],
    ) -> Iterator[tuple[str, str]]:
        """Yields name and new name of every node that the tower needs."""
        prefix = f"Placed_{number}"
        while any(name.startswith(f"{prefix}/") for name in taken):
            prefix = f"{prefix}_"
        for name in self._needed(wanted.tower):
            devices = placed.get(name, {})
            if not devices:
                yield name, name
            else:
                device = _device(self._nodes[name], wanted)
                yield name, devices.get(device, f"{prefix}/{name}")

    def nodes_of(self, tower: Tower) -> list[Node]:
        """Returns the nodes between a tower's inputs and outputs, both included.

        Raises:
            EngineFailed: a tensor is not in the graph.
        """
        return [self._nodes[name] for name in self._needed(tower)]

    def _needed(self, tower: Tower) -> list[str]:
        """Returns the names of the nodes between a tower's inputs and outputs, both included."""
        return self._with_ancestors(
            _node_of(spec.tensor_name) for spec in (*tower.inputs, *tower.outputs)
        )

    def _with_ancestors(self, names: Iterable[str]) -> list[str]:
        stack = list(names)
        seen: dict[str, None] = {}
        while stack:
            name = stack.pop()
            if name not in seen:
                seen[name] = None
                stack.extend(_node_of(source) for source in self._node(name).input)
        return list(seen)

    def _node(self, name: str) -> Node:
        node = self._nodes.get(name)
        if node is None:
            raise errors.EngineFailed(f"the graph has no node {name!r}, which a tower needs")
        return node


class _OneToOne:
    """Names of one tower and their only counterparts in another."""

    def __init__(self) -> None:
        self._right: dict[str, str] = {}
        self._left: dict[str, str] = {}

    def __contains__(self, left: str) -> bool:
        return left in self._right

    def match(self, left: str, right: str) -> bool:
        """Pairs two names; whether neither is another one's already."""
        return (
            self._right.setdefault(left, right) == right
            and self._left.setdefault(right, left) == left
        )


def _device(node: Node, wanted: PinnedTower) -> str:
    """Returns where a node of the tower is pinned to.

    A constant in a branch or a loop waits for a node of that, and belongs to its tower.
    """
    return "" if node.op == "Const" and not node.input else wanted.device


def _frame(node: Node) -> str:
    """Returns the name of the loop that a node enters; empty for all others."""
    return node.attr[_FRAME].s.decode() if _FRAME in node.attr else ""


def _compute_the_same(a: Node, b: Node) -> bool:
    kept_a, kept_b = ({*node.attr} - _IGNORED_ATTRIBUTES for node in (a, b))
    compared = kept_a - {_FRAME}
    return (
        a.op == b.op
        and len(a.input) == len(b.input)
        and kept_a == kept_b
        and all(a.attr[key] == b.attr[key] for key in compared)
    )


def _signature(tower: Tower) -> Any:
    return [
        [(spec.name, spec.dtype, spec.shape) for spec in specs]
        for specs in (tower.inputs, tower.outputs)
    ]


def _names(specs: Sequence[TensorSpec]) -> list[str]:
    return [spec.tensor_name for spec in specs]


def _inputs(tower: Tower) -> frozenset[str]:
    return frozenset(_node_of(name) for name in _names(tower.inputs))


def _node_of(source: str) -> str:
    return _split(source)[0]


def _split(source: str) -> tuple[str, str]:
    """Returns node and port of `node`, `node:1` or the control input `^node`."""
    if source.startswith("^"):
        return source[1:], "^"
    name, _, port = source.partition(":")
    return name, port or "0"


def _rename(source: str, names: Mapping[str, str]) -> str:
    mark = "^" if source.startswith("^") else ""
    name, colon, port = source.removeprefix("^").partition(":")
    return f"{mark}{names[name]}{colon}{port}"
