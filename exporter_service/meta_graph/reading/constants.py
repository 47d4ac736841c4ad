"""Values that a graph fixes by itself: small, pure parts of it are run on the spot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import is_stateful, registered, takes_function
from service_kit.frozen_graph.op_allowance import allowed_ops

# They choose between values, or run in a loop: what they give is not made of their inputs alone.
_CONTROL = frozenset(
    ["Switch", "RefSwitch", "Merge", "RefMerge", "Enter", "RefEnter", "Exit", "RefExit",
     "NextIteration", "RefNextIteration", "LoopCond", "Placeholder", "PlaceholderV2",
     "PlaceholderWithDefault"]
)  # fmt: skip
_MAX_NODES = 100


def constant_value(
    graph: NodeGraph,
    port: Port,
    given: dict[str, Any] | None = None,
) -> np.ndarray[Any, Any] | None:
    """Returns the value of a port that depends on constants alone; None for any other.

    Args:
        graph: holds the port.
        port: of a node that is computed from few, pure ops.
        given: values to assume for some nodes, by name.
    """
    given = given or {}
    if port.node in given:
        return np.asarray(given[port.node])
    if graph.op(port) == "Const" and port.node not in given:
        return np.asarray(tf.make_ndarray(graph.node(port).attr["value"].tensor))
    names = _pure_cone(graph, port, given)
    return None if names is None else _evaluated(graph, [port], names, given).get(port)


def constant_values(graph: NodeGraph, ports: Sequence[Port]) -> dict[Port, np.ndarray[Any, Any]]:
    """Returns the values of ports that depend on constants alone; none if one cannot be had."""
    names = graph.ancestors(ports)
    return _evaluated(graph, ports, names, {}) if ports else {}


def depends_on_constants(graph: NodeGraph) -> set[str]:
    """Returns the nodes that are computed by pure ops from constants alone."""
    impure = [name for name, node in graph.nodes.items() if not _is_pure(node.op)]
    return graph.nodes.keys() - graph.dependents_of_nodes(impure) - set(impure)


def _evaluated(
    graph: NodeGraph, ports: Sequence[Port], names: Iterable[str], given: Mapping[str, Any]
) -> dict[Port, np.ndarray[Any, Any]]:
    needed = {name: value for name, value in given.items() if name in graph.nodes}
    definition = tf.GraphDef()
    definition.versions.CopyFrom(graph.definition.versions)
    for name in names:
        node = definition.node.add()
        node.CopyFrom(graph.nodes[name])
        data = [text for text in node.input if not text.startswith("^")]
        del node.input[:]
        node.input.extend(data)
        node.device = ""
        for key in [key for key in node.attr if key.startswith("_")]:
            del node.attr[key]
    with tf.Graph().as_default() as scratch:
        replaced = {str(Port(name)): tf.constant(value) for name, value in needed.items()}
        try:
            tensors = tf.import_graph_def(
                definition,
                _used(definition, replaced),
                [port.tensor_name for port in ports],
                name="evaluated",
            )
            with tf.Session(graph=scratch, config=_config()) as session:
                values = session.run(tensors)
        # Whatever is wrong with it, it is not a constant that can be had here.
        except (ValueError, TypeError, tf.errors.OpError):
            return {}
    return {port: np.asarray(value) for port, value in zip(ports, values, strict=True)}


def _pure_cone(graph: NodeGraph, port: Port, given: dict[str, Any]) -> set[str] | None:
    """Returns the nodes that a port is computed from; None as soon as they are many or not pure."""
    found: set[str] = set()
    waiting = [port.node] if port.node not in given else []
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        node = graph.nodes.get(name)
        if node is None or not _is_pure(node.op) or len(found) >= _MAX_NODES:
            return None
        found.add(name)
        waiting.extend(one.node for one in graph.inputs(name) if one.node not in given)
    return found


@cache
def _is_pure(op: str) -> bool:
    """Whether an op gives the same for the same inputs, and does nothing else.

    Random numbers from a fixed seed are random still, and a function could be anything.
    """
    return (
        op in allowed_ops()
        and op not in _CONTROL
        and "Random" not in op
        and registered(op)
        and not is_stateful(op)
        and not takes_function(op)
    )


def constant_bool(graph: NodeGraph, port: Port) -> bool | None:
    """Returns the truth of a scalar that depends on constants alone; None for any other."""
    value = constant_value(graph, port)
    return bool(value) if value is not None and value.size == 1 else None


def set_constant(graph: NodeGraph, name: str, value: Any, dtype: int) -> None:
    """Turns a node, in place, into a scalar constant.

    Raises:
        ValueError, TypeError: the value is none of that type.
    """
    array = np.asarray(value).astype(tf.as_dtype(dtype).as_numpy_dtype)
    node = graph.nodes[name]
    node.op = "Const"
    del node.input[:]
    node.attr.clear()
    node.attr["dtype"].type = dtype
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))


def _used(definition: Any, replaced: dict[str, Any]) -> dict[str, Any]:
    """Importing refuses a replacement that nothing takes."""
    taken = {text.partition(":")[0] for node in definition.node for text in node.input}
    return {name: tensor for name, tensor in replaced.items() if name in taken}


def _config() -> Any:
    return tf.ConfigProto(device_count={"GPU": 0}, inter_op_parallelism_threads=1)
