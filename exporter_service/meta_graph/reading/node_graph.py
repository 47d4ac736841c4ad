"""A graph definition as nodes that can be looked up, walked and changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple


class Port(NamedTuple):
    """Output `number` of a node. `str()` is how a node definition writes it."""

    node: str
    number: int = 0

    def __str__(self) -> str:
        """Returns `node`, or `node:number` for any output but the first."""
        return f"{self.node}:{self.number}" if self.number else self.node

    @property
    def tensor_name(self) -> str:
        """The name with its number, as sessions take it."""
        return f"{self.node}:{self.number}"


# Node -> (consumer, port taken).
Consumers = dict[str, list[tuple[str, Port]]]


def port_of(text: str) -> Port:
    """Returns the port that a data input names."""
    node, _, number = text.partition(":")
    return Port(node, int(number) if number else 0)


class NodeGraph:
    """The nodes of a GraphDef by name. Changes go into the nodes themselves."""

    def __init__(self, graph_def: Any) -> None:
        """Takes a GraphDef; its nodes, function library and versions are used, not copied."""
        self.nodes: dict[str, Any] = {node.name: node for node in graph_def.node}
        self.library: dict[str, Any] = {
            function.signature.name: function for function in graph_def.library.function
        }
        self.definition = graph_def
        self.at_first = len(self.nodes)

    def inputs(self, name: str) -> list[Port]:
        """Returns a node's data inputs, in order."""
        return [port_of(text) for text in self.nodes[name].input if not text.startswith("^")]

    def controls(self, name: str) -> list[str]:
        """Returns the nodes that a node waits for without taking a value."""
        return [text[1:] for text in self.nodes[name].input if text.startswith("^")]

    def input(self, name: str, position: int) -> Port | None:
        """Returns one data input; None when the node has not so many."""
        ports = self.inputs(name)
        return ports[position] if position < len(ports) else None

    def node(self, port: Port) -> Any:
        """Returns the node of a port."""
        return self.nodes[port.node]

    def op(self, port: Port) -> str:
        """Returns the op type of a port's node; empty for one that is not there."""
        node = self.nodes.get(port.node)
        return str(node.op) if node is not None else ""

    def ancestors(
        self, ports: Iterable[Port], stop: Callable[[Port], bool] = lambda _: False
    ) -> set[str]:
        """Returns every node that the ports' values are computed from, theirs included.

        Control inputs are no values and are not followed. Ports for which `stop` is true are
        neither included nor followed, unless another way leads to their node.
        """
        found: set[str] = set()
        waiting = [port for port in ports if not stop(port)]
        while waiting:
            name = waiting.pop().node
            if name in found or name not in self.nodes:
                continue
            found.add(name)
            waiting.extend(port for port in self.inputs(name) if not stop(port))
        return found

    def dependents(self, ports: Iterable[Port]) -> set[str]:
        """Returns every node whose value depends on one of the ports."""
        consumers = self.consumers()
        wanted = set(ports)
        return _reached(
            consumers,
            [user for port in wanted for user, taken in consumers.get(port.node, ())
             if taken == port],
        )  # fmt: skip

    def dependents_of_nodes(self, names: Iterable[str]) -> set[str]:
        """Returns every node whose value depends on an output of one of the nodes."""
        consumers = self.consumers()
        return _reached(consumers, [u for name in names for u, _ in consumers.get(name, ())])

    def consumers(self) -> Consumers:
        """Returns node -> (consumer, port taken) for all data inputs of the graph."""
        found: Consumers = {}
        for name in self.nodes:
            for port in self.inputs(name):
                found.setdefault(port.node, []).append((name, port))
        return found

    def through(self, port: Port, ops: frozenset[str]) -> Port:
        """Follows first inputs back through nodes of the given op types."""
        seen = set()
        while self.op(port) in ops and port.node not in seen:
            seen.add(port.node)
            before = self.input(port.node, 0)
            if before is None:
                break
            port = before
        return port

    def replace(self, old: Port, new: Port, *, inside: Iterable[str] | None = None) -> None:
        """Lets every consumer (or those named) take `new` where it took `old`."""
        for name in list(self.nodes) if inside is None else inside:
            node = self.nodes[name]
            for position, text in enumerate(node.input):
                if not text.startswith("^") and port_of(text) == old:
                    node.input[position] = str(new)

    def replace_all(self, taken: Mapping[Port, Port]) -> None:
        """Lets every consumer take other ports, in one walk; also where one leads to another."""
        if not taken:
            return
        for node in self.nodes.values():
            for position, text in enumerate(node.input):
                if text.startswith("^"):
                    continue
                port = port_of(text)
                steps = 0
                while port in taken and steps <= len(taken):
                    port, steps = taken[port], steps + 1
                if steps:
                    node.input[position] = str(port)

    def add(self, op: str, name: str, inputs: Iterable[Port] = ()) -> Any:
        """Adds a node under a name that is free, and returns it; attributes are the caller's."""
        free, number = name, 0
        while free in self.nodes:
            number += 1
            free = f"{name}_{number}"
        node = self.definition.node.add(name=free, op=op)
        node.input.extend(map(str, inputs))
        self.nodes[free] = node
        return node

    def become_identity(self, name: str, source: Port, dtype: int) -> None:
        """Turns a node, in place, into one that passes `source` on; `dtype` is its enum value."""
        node = self.nodes[name]
        node.op = "Identity"
        del node.input[:]
        node.input.append(str(source))
        node.attr.clear()
        node.attr["T"].type = dtype

    def of_op(self, *ops: str) -> Iterator[str]:
        """Yields the names of all nodes of some op types."""
        wanted = set(ops)
        return (name for name, node in list(self.nodes.items()) if node.op in wanted)


def _reached(consumers: Consumers, waiting: list[str]) -> set[str]:
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(user for user, _ in consumers.get(name, ()))
    return found
