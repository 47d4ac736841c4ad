from __future__ import annotations

from typing import Any

import pytest
import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.detection.variable_state import Decision, Role, decide
from exporter_service.meta_graph.reading.node_graph import NodeGraph, port_of
from exporter_service.meta_graph.reading.variables import REFERENCE, RESOURCE, trainable_names
from tests.support.stateful_graphs import STATE, STORED, UNDER_A_CONDITION, Build, slot
from tests.support.training_graphs import control_flow


def decided(
    build: Build, *, resource: bool, flow: int = 1, batch: int | None = 2
) -> dict[str, Any]:
    """Returns the decisions on the variables that a net's answer reads."""
    with tf.Graph().as_default(), control_flow(flow):
        x = tf.placeholder(tf.float32, [batch, 6], name="x")
        answer = tf.identity(build(x, resource), name="answer")
        meta = tf.train.export_meta_graph()
        names = NodeGraph(meta.graph_def).ancestors([port_of(answer.name)])
    graph = NodeGraph(meta.graph_def)
    variables = {name for name in names if graph.nodes[name].op in REFERENCE | RESOURCE}
    trainable = trainable_names(meta)
    before = meta.SerializeToString(deterministic=True)
    found = decide(graph, variables, trainable)
    assert meta.SerializeToString(deterministic=True) == before
    return dict(found)


def size_of(case: str) -> int:
    return 1 if "of one" in case else 2


RESOURCES = pytest.mark.parametrize("resource", [False, True], ids=["reference", "resource"])
FLOWS = pytest.mark.parametrize("flow", [1, 2], ids=["switch", "if"])


@FLOWS
@RESOURCES
@pytest.mark.parametrize("case", STORED)
def test_what_inference_needs_is_taken_as_stored(case: str, flow: int, *, resource: bool) -> None:
    build, role = STORED[case]
    found = decided(build, resource=resource, flow=flow, batch=size_of(case))
    assert found["s"].role is Role[role]


@FLOWS
@RESOURCES
@pytest.mark.parametrize("case", STATE)
def test_what_one_call_leaves_to_the_next_is_state(case: str, flow: int, *, resource: bool) -> None:
    if case in UNDER_A_CONDITION and flow == 2 and not resource:
        pytest.skip("TensorFlow 2's conditions take no reference variables")
    found = decided(STATE[case], resource=resource, flow=flow, batch=size_of(case))
    assert found["s"].role is Role.STATE
    assert found["s"].update


@RESOURCES
def test_a_slot_is_one_of_its_weight(*, resource: bool) -> None:
    found = decided(slot, resource=resource)
    assert {one.role for one in found.values()} == {Role.TRAINED, Role.SLOT}


@pytest.mark.parametrize("case", ["unfused batch norm", "codebook", "fake quant, last"])
def test_the_size_of_the_batch_makes_no_difference(case: str) -> None:
    build, role = STORED[case]
    assert decided(build, resource=False, batch=None)["s"].role is Role[role]


def test_a_state_says_along_which_axis_its_examples_lie() -> None:
    assert decided(STATE["recurrent"], resource=False)["s"].content.axis == 0
    one = decided(STATE["recurrent, batch of one"], resource=False, batch=1)
    assert one["s"].content.axis is None


def test_a_weight_of_a_graph_that_was_imported_below_a_name_is_one() -> None:
    build, _ = STORED["momentum by hand"]
    with tf.Graph().as_default():
        build(tf.placeholder(tf.float32, [None, 6], name="x"), False)
        inner = tf.train.export_meta_graph()
    with tf.Graph().as_default():
        tf.train.import_meta_graph(inner, import_scope="below/this")
        definition = tf.get_default_graph().as_graph_def(add_shapes=True)
    found = decide(NodeGraph(definition), {"below/this/s"}, frozenset())
    assert found["below/this/s"].role is Role.TRAINED


def test_a_variable_that_nothing_assigns_needs_no_decision() -> None:
    with tf.Graph().as_default():
        tf.get_variable("s", [2], use_resource=False)
        definition = tf.get_default_graph().as_graph_def(add_shapes=True)
    graph = NodeGraph(definition)
    del graph.nodes["s/Assign"]
    assert decide(graph, {"s"}, frozenset()) == {}


def test_a_decision_without_more_is_of_what_never_saw_the_input() -> None:
    assert Decision(Role.TRAINED).content.axis is None
