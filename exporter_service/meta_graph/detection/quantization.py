"""Whether a variable holds the range that values are rounded in."""

from __future__ import annotations

from exporter_service.meta_graph.detection.average_arithmetic import ARITHMETIC
from exporter_service.meta_graph.reading.node_graph import NodeGraph

_ROUNDING = frozenset(["Round", "Rint", "Floor", "FloorDiv"])
_READING = frozenset(["Identity", "ReadVariableOp", "Switch", "RefSwitch", "Merge", "Enter"])
# From a range to the rounding it is a few operations.
_MAX_NODES = 100


def sets_a_range(graph: NodeGraph, variable: str, update: str) -> bool:
    """Whether what a variable holds, or is assigned, goes into a quantization.

    That is TensorFlow's own op (FakeQuant..., Quantize...) or arithmetic that ends in rounding.

    Args:
        graph: the training graph.
        variable: the variable.
        update: a node that assigns it, whose result may stand for it.
    """
    consumers = graph.consumers()
    seen, waiting = set[str](), [variable, update]
    while waiting and len(seen) < _MAX_NODES:
        for user, _ in consumers.get(waiting.pop(0), ()):
            op = graph.nodes[user].op
            if op in _ROUNDING or "Quant" in op:
                return True
            if user not in seen and op in ARITHMETIC | _READING and user != update:
                seen.add(user)
                waiting.append(user)
    return False
