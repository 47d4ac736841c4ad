"""Placeholders and flags that the user, or a dropout, gives one value for good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.detection.feeds import PLACEHOLDERS
from exporter_service.meta_graph.reading.constants import constant_value, set_constant
from exporter_service.meta_graph.reading.node_graph import NodeGraph
from exporter_service.meta_graph.reading.op_defs import output_types
from exporter_service.meta_graph.reading.tensor_names import find_port, parse_name
from exporter_service.meta_graph.rewriting.dropout import Dropout
from service_kit import errors


def bind(graph: NodeGraph, wanted: Mapping[str, Any]) -> dict[str, str]:
    """Binds, in place, the nodes that the user named; returns name -> value as text.

    Raises:
        Unconvertible: there is no such node, or its type does not take the value.
    """
    done = {}
    for text, value in wanted.items():
        port = find_port(graph, parse_name(text)[1], "a node to bind")
        types = output_types(graph.nodes[port.node])
        if not types:
            raise errors.Unconvertible(f"{port.node} has no value that could be bound")
        try:
            set_constant(graph, port.node, value, types[0])
        except (ValueError, TypeError) as error:
            raise errors.Unconvertible(f"{port.node} cannot be {value!r}: {error}") from error
        done[port.node] = str(value)
    return done


def bind_rates(graph: NodeGraph, forward: set[str], dropouts: list[Dropout]) -> dict[str, str]:
    """Gives, in place, a placeholder that dropouts were told their rate by the value for none.

    Only those that still reach the outputs by another way are bound: the dropouts are gone. A
    keep probability becomes 1 and a rate 0, whichever the arithmetic shows it to be.
    """
    done = {}
    for dropout in dropouts:
        for name in sorted(graph.ancestors([dropout.threshold]) & forward):
            if graph.nodes[name].op not in PLACEHOLDERS:
                continue
            for value in (1.0, 0.0):
                found = constant_value(graph, dropout.threshold, {name: _typed(graph, name, value)})
                if found is not None and found.size == 1 and float(found) == dropout.nothing:
                    set_constant(graph, name, value, graph.nodes[name].attr["dtype"].type)
                    done[name] = str(value)
                    break
    return done


def _typed(graph: NodeGraph, name: str, value: float) -> Any:
    return tf.as_dtype(graph.nodes[name].attr["dtype"].type).as_numpy_dtype(value)
