"""How many features an input has that leaves it open, by the weights that take them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from exporter_service.meta_graph.detection.feeds import Feed
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.variables import graph_variable, variable_of

_PASSING = frozenset(["Identity", "Cast", "StopGradient"])


def with_known_features(graph: NodeGraph, feed: Feed) -> Feed:
    """Returns the input with its last dimension as the weights have it, if that was open.

    Args:
        graph: the net, with its variables.
        feed: an input of it.
    """
    if not feed.shape or len(feed.shape) < 2 or feed.shape[-1] >= 0:
        return feed
    sizes = set(_taken(graph, feed.port))
    size = sizes.pop() if len(sizes) == 1 else None
    return feed if size is None else replace(feed, shape=(*feed.shape[:-1], size))


def _taken(graph: NodeGraph, feed: Port) -> Iterator[int | None]:
    """Yields how many features each layer takes; None: it may take any."""
    consumers = graph.consumers()
    waiting = [feed]
    while waiting:
        port = waiting.pop()
        for user, taken in consumers.get(port.node, ()):
            if taken != port:
                continue
            if graph.nodes[user].op in _PASSING:
                waiting.append(Port(user))
            else:
                yield _features(graph, user, port)


def _features(graph: NodeGraph, name: str, port: Port) -> int | None:
    node = graph.nodes[name]
    if node.op not in {"MatMul", "Conv2D"} or graph.inputs(name)[0] != port:
        return None
    weights = variable_of(graph, graph.inputs(name)[1])
    shape = graph_variable(graph, weights).shape if weights else None
    if shape is None or ("transpose_a" in node.attr and node.attr["transpose_a"].b):
        return None
    if node.op == "MatMul":
        turned = "transpose_b" in node.attr and node.attr["transpose_b"].b
        return shape[1 if turned else 0]
    last = "data_format" not in node.attr or node.attr["data_format"].s in (b"", b"NHWC")
    return shape[2] if last else None
