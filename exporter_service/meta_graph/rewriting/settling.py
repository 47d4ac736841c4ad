"""What becomes of the variables that are both read and assigned; `variable_state` decides.

A stored value is read plainly, also where training took the result of an assignment. State is
refused by its name, unless the user says what each request begins with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from exporter_service.meta_graph.detection.assignments import assignments
from exporter_service.meta_graph.detection.variable_state import Decision, Role, decide
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.op_defs import takes_reference
from exporter_service.meta_graph.reading.parameters import MetaGraphParameters
from exporter_service.meta_graph.reading.tensor_names import parse_name
from exporter_service.meta_graph.reading.variables import (
    REFERENCE,
    RESOURCE,
    graph_variable,
    trainable_names,
)
from exporter_service.meta_graph.rewriting.batch_norm import training_forward
from exporter_service.meta_graph.rewriting.initial_state import see_assigned
from service_kit import errors

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Settled:
    """What was decided.

    Attributes:
        decisions: variable -> what it is, for all that the outputs read and anything assigns.
        kept: state whose stored value is taken on the user's word.
        anew: state that begins every request with its initializer's value.
    """

    decisions: Mapping[str, Decision]
    kept: tuple[str, ...]
    anew: tuple[str, ...]

    @property
    def stored(self) -> frozenset[str]:
        """Variables whose stored value is taken."""
        sure = [name for name, one in self.decisions.items() if one.role is not Role.STATE]
        return frozenset([*sure, *self.kept])


def settle(
    graph: NodeGraph,
    meta: Any,
    outputs: Sequence[Port],
    cut: AbstractSet[Port],
    parameters: MetaGraphParameters,
) -> Settled:
    """Decides on the variables of the outputs, and rewrites, in place, how they are read.

    Args:
        graph: the graph that is being switched, its conditions folded.
        meta: the MetaGraphDef as it was saved: with what has been folded away since.
        outputs: the ports to answer with.
        cut: the ports that requests bring.
        parameters: what the user chose.

    Raises:
        Unconvertible: a name to keep is none of state.
    """
    forward = training_forward(graph, outputs, cut)
    wanted = set(graph.of_op(*REFERENCE, *RESOURCE)) & forward
    decisions = decide(NodeGraph(meta.graph_def), wanted, trainable_names(meta), cut)
    state = [name for name, one in decisions.items() if one.role is Role.STATE]
    kept = _kept(graph, parameters.keep_stored, state, decisions)
    anew = [name for name in state if name not in kept] if parameters.initial_state else []
    settled = Settled(decisions, kept, tuple(anew))
    for name, changes in assignments(graph, forward).items():
        # A counter that counts requests is none that training has counted to.
        if name in settled.stored and not decisions[name].counts:
            for one in (one for one in changes if takes_reference(graph.nodes[one.node].op)):
                source = graph.inputs(one.node)[0]
                graph.become_identity(one.node, source, graph_variable(graph, name).dtype)
    for name in anew:
        see_assigned(graph, name, forward)
    return settled


def refuse_state(settled: Settled, forward: AbstractSet[str], statistics: AbstractSet[str]) -> None:
    """Checks that no state is left among the nodes of the outputs.

    Args:
        settled: what was decided.
        forward: the nodes of the outputs, switched to inference.
        statistics: variables that batch norms have been switched to.

    Raises:
        Unconvertible: names the variables, and what assigns them.
    """
    left = [
        f"{name} (assigned by {one.update})"
        for name, one in settled.decisions.items()
        if one.role is Role.STATE and name in forward
        if name not in (*settled.kept, *settled.anew) and name not in statistics
    ]
    if left:
        raise errors.Unconvertible(
            "choose --initial-state to begin every request with the initializer's value, "
            "--keep-stored NAME to take the value in the checkpoint, or outputs before it: the "
            "answers depend on state that the graph carries from one call to the next, assigned "
            f"from what a call was given: {_few(left)}"
        )


def _kept(
    graph: NodeGraph,
    names: Sequence[str],
    state: Sequence[str],
    decisions: Mapping[str, Decision],
) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(parse_name(name)[1].node for name in names))
    for name in found:
        if name not in state:
            known = decisions[name].role.value if name in decisions else "nothing that is assigned"
            raise errors.Unconvertible(
                f"leave out --keep-stored {name}: it is no state that the outputs read, but "
                f"{known}; " + (f"they read {_few(state)}" if state else "they read none")
            )
        axis, shape = decisions[name].content.axis, graph_variable(graph, name).shape
        if axis is not None and shape is not None and axis < len(shape) and shape[axis] > 1:
            raise errors.Unconvertible(
                f"choose --initial-state, and leave out --keep-stored {name}: it holds something "
                f"else for each of the {shape[axis]} places in training's batch, and a request "
                "may have any number"
            )
    return found


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
