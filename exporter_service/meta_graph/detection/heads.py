"""Which tensors of a training graph are its answers."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from exporter_service.meta_graph.detection.batch_statistics import batch_statistics
from exporter_service.meta_graph.detection.ends import before_losses, is_training
from exporter_service.meta_graph.detection.feeds import FEEDS
from exporter_service.meta_graph.detection.fused_norm import FUSED, in_training
from exporter_service.meta_graph.reading.node_graph import Consumers, NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import (
    UNIFORM,
    stated_shape,
)
from exporter_service.meta_graph.reading.variables import REFERENCE, RESOURCE

_LOSSES = frozenset(
    ["SoftmaxCrossEntropyWithLogits", "SparseSoftmaxCrossEntropyWithLogits", "CTCLoss"]
)
# In order of preference: probabilities before the logits that they come from.
_RANKS = {"Softmax": 0, "Sigmoid": 1, "LogSoftmax": 2}
_LOGITS = 3
# Heads end in one of these; whatever else ends a graph is a metric or a loss.
_LINEAR = frozenset(["BiasAdd", "Add", "AddV2", "MatMul", "Conv2D", "Mean", "Squeeze", "Reshape"])
_PRODUCTS = frozenset(["Mul", "BatchMatMul", "BatchMatMulV2", "Einsum"])
_WEIGHED = frozenset(["MatMul", "Conv2D", "BatchMatMul", "BatchMatMulV2", "DepthwiseConv2dNative",
                      "Conv1D", "Conv3D", "Conv2DBackpropInput", "BiasAdd"])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Head:
    """A tensor that may be an answer.

    Attributes:
        port: the tensor.
        kind: what it is, for a person.
        rank: the lower, the likelier.
        trains: its net is in training mode.
        variables: the trainable ones that it depends on.
    """

    port: Port
    kind: str
    rank: int
    trains: bool
    variables: AbstractSet[str]

    def __str__(self) -> str:
        """Returns the head as it stands in a list of candidates."""
        mode = ", in training mode" if self.trains else ""
        return f"{self.port.tensor_name} ({self.kind}{mode})"


def find_heads(graph: NodeGraph, trainable: AbstractSet[str]) -> list[Head]:
    """Returns the candidates, the likeliest first.

    Args:
        graph: the training graph.
        trainable: names of its trainable variables; empty: not known.
    """
    consumers = graph.consumers()
    trained = _depending_on_weights(graph, trainable)
    logits, inside = _logits(graph, consumers)
    moments = _moments(graph)
    found = []
    for name in graph.of_op(*_RANKS):
        if is_training(name) or name in inside:
            continue
        if not _feeds_a_layer(graph, name, consumers, trained):
            op = graph.nodes[name].op
            found.append(_head(graph, Port(name), op, _RANKS[op], trainable, moments))
    for port, kind in logits.items():
        if not is_training(port.node):
            found.append(_head(graph, port, kind, _LOGITS, trainable, moments))
    usable = _usable(graph, found) or _usable(
        graph,
        [
            _head(graph, port, "compared with other data", _LOGITS, trainable, moments)
            for port in before_losses(graph, consumers, trained)
        ],
    )
    return sorted(usable, key=lambda head: (head.rank, head.trains, head.port))


def _usable(graph: NodeGraph, heads: list[Head]) -> list[Head]:
    return [
        head
        for head in heads
        if head.variables
        and _is_fed(graph, head.port)
        # A single number is a loss or a metric.
        and stated_shape(graph.node(head.port), head.port.number) != []
    ]


def _logits(graph: NodeGraph, consumers: Consumers) -> tuple[dict[Port, str], set[str]]:
    """Returns tensors that may be logits, and what those of a loss come from.

    The latter lies inside the net: a gate, an attention.
    """
    logits: dict[Port, str] = {}
    for name in graph.of_op(*_LOSSES):
        source = graph.inputs(name)[0]
        # The loss flattens what it compares.
        source = graph.through(source, frozenset(["Reshape", "Identity"]))
        logits[source] = "logits of a loss"
    inside = graph.ancestors([*logits, *_sigmoid_losses(graph)])
    for port in _sigmoid_losses(graph):
        logits.setdefault(port, "logits of a loss")
    for name, node in graph.nodes.items():
        users = [graph.nodes[user] for user, _ in consumers.get(name, ())]
        if (
            node.op in _LINEAR
            and not is_training(name)
            and all(user.op in {"ArgMax", "InTopK", "TopKV2"} for user in users)
        ):
            logits.setdefault(Port(name), "end of the net")
    return logits, inside


def obvious_head(heads: list[Head]) -> Head | None:
    """Returns the one head to take; copies of one net (towers, evaluation copies) count once."""
    if not heads:
        return None
    best = [head for head in heads if head.rank == heads[0].rank]
    # Logits of a loss are a better guess than whatever else ends the graph.
    if heads[0].rank == _LOGITS and any(head.kind != "end of the net" for head in best):
        best = [head for head in best if head.kind != "end of the net"]
    if any(head.variables != best[0].variables for head in best):
        return None
    return best[0]


def _sigmoid_losses(graph: NodeGraph) -> list[Port]:
    """Returns the logits of sigmoid cross entropies, which TensorFlow writes out in small ops.

    They are max(x, 0) - x z + log(1 + exp(-|x|)).
    """
    passing = frozenset(["Exp", "Neg", "Abs", "Identity"])
    found = []
    for name in graph.of_op("Log1p"):
        port = graph.through(graph.inputs(name)[0], passing)
        if graph.op(port) in {"Select", "SelectV2"}:
            port = graph.through(graph.inputs(port.node)[2], passing)
        port = graph.through(port, frozenset(["Reshape", "Identity"]))
        if not is_training(name) and port.node in graph.nodes:
            found.append(port)
    return found


def _depending_on_weights(graph: NodeGraph, trainable: AbstractSet[str]) -> set[str]:
    weights = trainable or set(graph.of_op(*REFERENCE, *RESOURCE))
    return graph.dependents_of_nodes(weights)


def _feeds_a_layer(
    graph: NodeGraph,
    name: str,
    consumers: Consumers,
    trained: AbstractSet[str],
) -> bool:
    """Whether a layer with weights comes after: then it is a gate or an attention."""
    seen, waiting = set[str](), [name]
    while waiting:
        before = waiting.pop()
        for user, _ in consumers.get(before, ()):
            if user in seen or is_training(user):
                continue
            seen.add(user)
            op = graph.nodes[user].op
            if op in _WEIGHED:
                return True
            # An attention multiplies what it attends to.
            others = [port.node for port in graph.inputs(user) if port.node != before]
            if op in _PRODUCTS and any(other in trained for other in others):
                return True
            waiting.append(user)
    return False


def _moments(graph: NodeGraph) -> set[str]:
    """Returns the nodes of batch norms that are written out and normalise by the batch."""
    fed = graph.dependents_of_nodes(graph.of_op(*FEEDS))
    shapes = [stated_shape(graph.nodes[name], 0) for name in graph.of_op(*FEEDS)]
    sizes = {shape[0] for shape in shapes if shape}
    names = {name for name in graph.nodes if not is_training(name)}
    return set(batch_statistics(graph, names, fed, sizes | {-1}))


def _head(
    graph: NodeGraph,
    port: Port,
    kind: str,
    rank: int,
    trainable: AbstractSet[str],
    moments: AbstractSet[str],
) -> Head:
    names = graph.ancestors([port])
    nodes = [graph.nodes[name] for name in names]
    variables = {node.name for node in nodes if node.op in REFERENCE | RESOURCE}
    return Head(
        port=port,
        kind=kind,
        rank=rank,
        trains=any(node.op in FUSED and in_training(graph, node.name) for node in nodes)
        or any(node.op in UNIFORM for node in nodes)
        or not names.isdisjoint(moments),
        variables=frozenset(variables & trainable if trainable else variables),
    )


def _is_fed(graph: NodeGraph, port: Port) -> bool:
    return any(graph.nodes[name].op in FEEDS for name in graph.ancestors([port]))
