"""Updates by a gradient, as optimizers write them by hand: recognised without a list of weights.

TensorFlow computes the gradient of a node N in a name scope `N_grad`, whoever asks for it. What
such a scope gives, in the shape of a variable that N takes, is that variable's gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from exporter_service.meta_graph.detection.average_arithmetic import ARITHMETIC
from exporter_service.meta_graph.detection.content import Content, Origin
from exporter_service.meta_graph.detection.origins import Origins
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import dtype_name, output_types, stated_shape
from exporter_service.meta_graph.reading.variables import graph_variable, variable_of

_SUFFIX = "_grad"
# What gradients are clipped, averaged and made dense by.
_PASSING = ARITHMETIC | {
    "L2Loss", "Sum", "Mean", "Pack", "ConcatV2", "UnsortedSegmentSum", "StridedSlice", "Tile",
    "IsFinite", "IsInf", "IsNan", "All", "LogicalAnd", "LogicalNot", "Max", "Unique", "Sign",
    "NcclAllReduce", "CollectiveReduce", "HorovodAllreduce", "IdentityN", "Sigmoid", "Tanh",
}  # fmt: skip
_MAX_NODES = 2000


class WeightGradients:
    """The gradients of a graph's variables."""

    def __init__(self, graph: NodeGraph) -> None:
        """Takes the training graph."""
        self._graph = graph
        # Node -> the variables that it takes.
        self._takers: dict[str, set[str]] = {}
        for name in graph.nodes:
            for port in graph.inputs(name):
                variable = variable_of(graph, port)
                if variable is not None:
                    self._takers.setdefault(name, set()).add(variable)

    def sources(self, values: Iterable[Port], origins: Origins) -> set[str] | None:
        """Returns the variables whose gradients some values are made of; None: of others, too.

        Args:
            values: what an update takes.
            origins: what the graph's values say of the input.
        """
        found, seen, waiting = set[str](), set[Port](), list(values)
        while waiting:
            port = waiting.pop()
            if port in seen:
                continue
            seen.add(port)
            content = origins.of(port)
            # Integers say which rows a gradient is for.
            if content.origin <= Origin.AVERAGED or self._is_integer(port):
                continue
            own = self._gradient_of(port, content)
            if own:
                found |= own
            elif self._graph.op(port) in _PASSING and len(seen) < _MAX_NODES:
                # A variable's value, an assigned one's, too, stands for itself.
                if variable_of(self._graph, port) is not None or origins.assigns(port.node):
                    return None
                waiting += self._graph.inputs(port.node)
            else:
                return None
        return found

    def _is_integer(self, port: Port) -> bool:
        types = output_types(self._graph.node(port))
        return types is not None and dtype_name(types[port.number]).startswith(("int", "uint"))

    def _gradient_of(self, port: Port, content: Content) -> set[str]:
        """Returns the variables of which a port is the gradient; there is no more than one."""
        shape = stated_shape(self._graph.node(port), port.number)
        found = set()
        for node in self._differentiated(port.node):
            rows = "Gather" in self._graph.nodes[node].op
            # What still has the examples is the gradient of an activation.
            if rows or content.axis is None:
                found |= {one for one in self._takers[node] if self._fits(one, shape, rows=rows)}
        return found

    def _fits(self, variable: str, shape: list[int] | None, *, rows: bool) -> bool:
        """Whether a shape is that of a variable, or of some of its rows."""
        own = graph_variable(self._graph, variable).shape
        if own is None or shape is None:
            return False
        return shape[1:] == list(own[1:]) if rows else shape == list(own)

    def _differentiated(self, name: str) -> Iterator[str]:
        """Yields the nodes in whose gradient's scope a node lies, if they take a variable."""
        parts = name.split("/")
        for end, part in enumerate(parts[:-1]):
            if not part.endswith(_SUFFIX):
                continue
            last = part.removesuffix(_SUFFIX)
            for start in range(end + 1):
                inner = "/".join([*parts[start:end], last])
                # A graph that was imported below a name has it before everything.
                for prefix in {"", *("/".join(parts[:k]) + "/" for k in range(1, start + 1))}:
                    if prefix + inner in self._takers:
                        yield prefix + inner


def is_own(sources: set[str] | None, variable: str) -> bool:
    """Whether an update is by the gradient of the variable itself."""
    return sources is not None and variable in sources


def is_slot(graph: NodeGraph, sources: set[str] | None, variable: str) -> bool:
    """Whether a variable of a weight's shape takes nothing but gradients, as a slot does."""
    own = graph_variable(graph, variable).shape
    return bool(sources) and any(graph_variable(graph, one).shape == own for one in sources or ())
