"""What each value of a training graph says of the input, given what its variables say of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet

from exporter_service.meta_graph.detection.assignments import SWITCHES
from exporter_service.meta_graph.detection.average_arithmetic import ARITHMETIC
from exporter_service.meta_graph.detection.batch_axis import combined
from exporter_service.meta_graph.detection.content import (
    AVERAGED,
    FIXED,
    SOMEWHERE,
    Content,
    Origin,
)
from exporter_service.meta_graph.detection.feeds import FEEDS
from exporter_service.meta_graph.reading.node_graph import Consumers, NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import stated_shape
from exporter_service.meta_graph.reading.variables import variable_of

_SIZES = frozenset(["Shape", "ShapeN", "Size", "Rank", "VariableShape", "VarIsInitializedOp",
                    "IsVariableInitialized", "ZerosLike", "OnesLike"])  # fmt: skip
_PASSING = frozenset(["Identity", "Cast", "Reshape", "StopGradient"])
# Of these only the first input is a value that is passed on; a condition is looked at apart.
_FIRST_INPUT = frozenset(["Reshape", "Switch", "RefSwitch", "Cast", "Squeeze", "ExpandDims"])
# An average is made by few operations.
_MAX_OPERATIONS = 200


class Origins:
    """What the values of a graph hold.

    Conditions choose between values and are no part of them: see `conditions`.
    """

    def __init__(
        self,
        graph: NodeGraph,
        inputs: AbstractSet[Port],
        assigning: Mapping[str, str],
        variables: Mapping[str, Content],
    ) -> None:
        """Takes a graph.

        Args:
            graph: the training graph.
            inputs: ports that requests bring, beside the graph's own feeds.
            assigning: node that assigns -> its variable, whose value it passes on.
            variables: what they hold; one that is not listed was never given anything.
        """
        self._graph = graph
        self._assigning = assigning
        self._variables = variables
        self._consumers = graph.consumers()
        self._inputs = inputs | _feeds(graph, self._consumers, assigning)
        fed = [name for name, one in variables.items() if one.origin > Origin.AVERAGED]
        averaged = [name for name, one in variables.items() if one == AVERAGED]
        self._fed = self._reached(self._inputs | {Port(name) for name in fed})
        self._averaged = self._reached({Port(name) for name in averaged})
        self._known: dict[Port, Content] = {}

    def of(self, port: Port) -> Content:
        """Returns what a port's value holds."""
        waiting, entered = [port], set[Port]()
        while waiting:
            one = waiting[-1]
            if one in self._known:
                waiting.pop()
                continue
            leaf = self._leaf(one)
            if leaf is not None:
                self._known[one] = leaf
                continue
            sources = self._sources(one)
            missing = [p for p in sources if p not in self._known and p not in entered]
            if missing and one not in entered:
                entered.add(one)
                waiting.extend(missing)
                continue
            # What is still open leads back here: a loop.
            contents = [self._known.get(source, SOMEWHERE) for source in sources]
            self._known[one] = combined(self._graph, one, contents)
        return self._known[port]

    def assigns(self, node: str) -> bool:
        """Whether a node changes a variable."""
        return node in self._assigning

    def walk(self, value: Port, stop: Port | None = None) -> tuple[list[Port], list[Port]]:
        """Follows a value back through arithmetic, to what it is computed from.

        Args:
            value: where to begin.
            stop: a port not to go beyond.

        Returns:
            The ports on the way, and where the way ends: all that was computed otherwise, read
            from a variable, or does not depend on the input.
        """
        inner, ends, seen, waiting = list[Port](), list[Port](), set[Port](), [value]
        while waiting:
            port = waiting.pop(0)
            if port in seen or len(seen) > _MAX_OPERATIONS:
                continue
            seen.add(port)
            op = self._graph.op(port)
            if port == stop or self._leaf(port) is not None or op not in ARITHMETIC:
                ends.append(port)
                continue
            inner.append(port)
            sources = self._graph.inputs(port.node)
            waiting.extend(sources[:1] if op in _FIRST_INPUT else sources)
        return inner, ends

    def read(self, values: Iterable[Port]) -> set[str]:
        """Returns the variables that some values are computed from."""
        seen, waiting = set[str](), [port.node for port in values]
        while waiting:
            name = waiting.pop()
            if name in self._graph.nodes and name not in seen:
                seen.add(name)
                waiting += [source.node for source in self._sources(Port(name))]
        return {name for name in seen if self._is_variable(Port(name))}

    def conditions(self, ports: Iterable[Port], nodes: Iterable[str]) -> Iterator[Port]:
        """Yields the predicates that decide over some values, and over whether nodes run."""
        seen, waiting = set[str](), [*(port.node for port in ports), *nodes]
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self._graph.nodes:
                continue
            seen.add(name)
            waiting += [port.node for port in self._graph.inputs(name)]
            # A control input from a Switch says in which branch a node is.
            pivots = [
                self._graph.through(Port(control), frozenset(["Identity"])).node
                for control in self._graph.controls(name)
            ]
            for one in (name, *pivots):
                if self._graph.op(Port(one)) in SWITCHES:
                    predicate = self._graph.inputs(one)[1]
                    waiting.append(predicate.node)
                    yield predicate

    def _leaf(self, port: Port) -> Content | None:
        if port in self._inputs:
            return Content(Origin.EXAMPLE, 0)
        variable = self._assigning.get(port.node) or variable_of(self._graph, port)
        if variable is not None:
            return self._variables.get(variable, FIXED)
        if port.node in self._fed and self._graph.op(port) not in _SIZES:
            return None
        return AVERAGED if port.node in self._averaged else FIXED

    def _sources(self, port: Port) -> list[Port]:
        inputs = self._graph.inputs(port.node)
        return inputs[:1] if self._graph.op(port) in SWITCHES else inputs

    def _reached(self, starts: AbstractSet[Port]) -> set[str]:
        """Returns the nodes with values that depend on some ports or variables."""
        nodes = {port.node for port in starts if port.number == 0 and self._is_variable(port)}
        found: set[str] = set()
        waiting = [user for port in starts for user in self._users(port.node, starts, nodes)]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(self._users(name, None, nodes))
        return found

    def _is_variable(self, port: Port) -> bool:
        return variable_of(self._graph, port) == port.node

    def _users(
        self, name: str, only: AbstractSet[Port] | None, variables: AbstractSet[str]
    ) -> Iterator[str]:
        for user, port in self._consumers.get(name, ()):
            if only is not None and port not in only and name not in variables:
                continue
            op = self._graph.nodes[user].op
            if op in _SIZES or (op in SWITCHES and port != self._graph.inputs(user)[0]):
                continue
            # An assignment passes on its variable's value, which counts for itself.
            if user in self._assigning and port != self._graph.inputs(user)[0]:
                continue
            yield user


def _feeds(
    graph: NodeGraph, consumers: Consumers, assigning: Mapping[str, str]
) -> AbstractSet[Port]:
    """Returns the ports that bring examples in.

    Not a single number, as a rate is, and no placeholder that only serves to set a variable.
    """
    found = set()
    for name in graph.of_op(*FEEDS):
        for port in {port for _, port in consumers.get(name, ())}:
            setter = _only_sets(graph, port, consumers, assigning)
            if stated_shape(graph.nodes[name], port.number) != [] and not setter:
                found.add(port)
    return found


def _only_sets(
    graph: NodeGraph, port: Port, consumers: Consumers, assigning: Mapping[str, str]
) -> bool:
    if graph.op(port) not in {"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"}:
        return False
    seen, waiting = set[str](), [port.node]
    while waiting:
        for user, _ in consumers.get(waiting.pop(), ()):
            if user not in seen and user not in assigning:
                if graph.nodes[user].op not in _PASSING:
                    return False
                seen.add(user)
                waiting.append(user)
    return True
