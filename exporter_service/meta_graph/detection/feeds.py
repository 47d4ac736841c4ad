"""Where a training graph takes its input from: iterators, queues, placeholders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import (
    dtype_name,
    element_shape,
    output_types,
    stated_shape,
)

PLACEHOLDERS = frozenset(["Placeholder", "PlaceholderV2", "PlaceholderWithDefault"])
_ITERATORS = frozenset(
    ["IteratorGetNext", "IteratorGetNextSync", "OptionalGetValue", "DatasetToSingleElement"]
)
_QUEUES = frozenset(
    f"QueueDequeue{kind}{release}" for kind in ("", "Many", "UpTo") for release in ("", "V2")
) | {"Unstage", "ReaderRead", "ReaderReadV2", "ReaderReadUpToV2", "RecordInput"}
FEEDS = PLACEHOLDERS | _ITERATORS | _QUEUES


@dataclass(frozen=True, slots=True)
class Feed:
    """A port that brings values into the graph.

    Attributes:
        port: the port.
        kind: op type of its node.
        dtype: NumPy name; None for an op that is not registered.
        shape: dimensions, -1: any; None: unknown.
        upstream: op type -> number of nodes that its values come from.
    """

    port: Port
    kind: str
    dtype: str | None
    shape: tuple[int, ...] | None
    upstream: Mapping[str, int]

    def __str__(self) -> str:
        """Returns the feed as it stands in a list of candidates."""
        shape = "unknown shape" if self.shape is None else list(self.shape)
        return f"{self.port.tensor_name} ({self.kind}, {self.dtype} {shape})"


def find_feeds(
    graph: NodeGraph, outputs: Iterable[Port], chosen: AbstractSet[Port] = frozenset()
) -> list[Feed]:
    """Returns the ports that the outputs' values come in by, nearest to the outputs.

    Those that are `chosen` count, whatever their op.
    """
    found: set[Port] = set()

    def is_feed(port: Port) -> bool:
        if port in chosen or graph.op(port) in FEEDS:
            found.add(port)
            return True
        return False

    graph.ancestors(outputs, stop=is_feed)
    return [described(graph, port) for port in sorted(found)]


def described(graph: NodeGraph, port: Port) -> Feed:
    """Returns what the graph says of a port that is, or shall become, an input."""
    node = graph.node(port)
    types = output_types(node)
    shape = stated_shape(node, port.number)
    if shape is None and node.op.startswith("QueueDequeue"):
        shape = _queued_shape(graph, port)
    return Feed(
        port=port,
        kind=str(node.op),
        dtype=dtype_name(types[port.number]) if types and port.number < len(types) else None,
        shape=tuple(shape) if shape is not None else None,
        upstream=_upstream(graph, port),
    )


def _queued_shape(graph: NodeGraph, port: Port) -> list[int] | None:
    """Returns what the queue itself states of its elements, batched as the op takes them."""
    queue = graph.through(graph.inputs(port.node)[0], frozenset(["Identity", "RefIdentity"]))
    element = element_shape(graph.node(queue), port.number) if queue.node in graph.nodes else None
    if element is None:
        return None
    batched = graph.op(port).startswith(("QueueDequeueMany", "QueueDequeueUpTo"))
    return [-1, *element] if batched else element


def _upstream(graph: NodeGraph, port: Port) -> dict[str, int]:
    """Counts the ops that a cut at the port leaves behind, those of a dataset included."""
    names = graph.ancestors([port])
    # A dataset reaches its iterator through the op that makes the iterator.
    makers = {
        name
        for name in graph.of_op("MakeIterator")
        if any(source.node in names for source in graph.inputs(name)[1:])
    }
    # A queue is filled by ops that take it as their first input.
    fillers = {
        name
        for name, node in graph.nodes.items()
        if "Enqueue" in node.op and graph.inputs(name)[0].node in names
    }
    names |= graph.ancestors(Port(name) for name in makers | fillers)
    counts = Counter(graph.nodes[name].op for name in names if name != port.node)
    functions, waiting = set[str](), [graph.nodes[name] for name in names]
    while waiting:
        for attribute in waiting.pop().attr.values():
            called = attribute.func.name
            if called in graph.library and called not in functions:
                functions.add(called)
                body = graph.library[called].node_def
                counts.update(node.op for node in body)
                waiting.extend(body)
    for silent in ("Const", "NoOp", "Identity"):
        counts.pop(silent, None)
    return dict(sorted(counts.items()))
