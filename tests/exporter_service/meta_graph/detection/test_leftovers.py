from __future__ import annotations

import pytest
import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.detection.leftovers import refuse_everywhere, refuse_leftovers
from exporter_service.meta_graph.reading.node_graph import NodeGraph
from service_kit import errors


@pytest.mark.parametrize("branch", ["then_branch", "else_branch"])
def test_an_op_in_the_place_of_a_function_is_refused(branch: str) -> None:
    """TensorFlow runs an op whose name stands where a branch should be a function."""
    graph = tf.GraphDef()
    function = graph.library.function.add()
    function.signature.name = "inside"
    node = graph.node.add(name="choice", op="StatelessIf")
    for name in ("then_branch", "else_branch"):
        node.attr[name].func.name = "inside"
    refuse_everywhere(NodeGraph(graph))
    node.attr[branch].func.name = "WriteFile"
    with pytest.raises(errors.Unconvertible, match="choice"):
        refuse_everywhere(NodeGraph(graph))


def test_an_op_in_a_list_of_functions_is_refused() -> None:
    graph = tf.GraphDef()
    node = graph.node.add(name="choice", op="StatelessCase")
    node.attr["branches"].list.func.add().name = "ReadFile"
    with pytest.raises(errors.Unconvertible, match="choice"):
        refuse_everywhere(NodeGraph(graph))


def test_a_table_is_refused_by_the_tensors_before_and_behind_it() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.int64, [None], name="best")
        pairs = tf.lookup.KeyValueTensorInitializer(
            tf.constant([0, 1], tf.int64), tf.constant(["ant", "bee"])
        )
        table = tf.lookup.StaticHashTable(pairs, "?", name="class_names")
        found = table.lookup(x, name="named")
    nodes = NodeGraph(graph.as_graph_def())
    names = found.op.name
    with pytest.raises(errors.Unconvertible, match=rf"^take --output best:0, .* --input {names}:0"):
        refuse_leftovers(nodes, {"best"})
