from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from service_kit import errors
from service_kit.frozen_graph import graph_import
from service_kit.frozen_graph.graph_import import import_graph


def definition_of(build: Any) -> Any:
    with tf.Graph().as_default() as graph:
        build(tf.placeholder(tf.float32, [None, 6], name="x"))
    return graph.as_graph_def()


def answer(graph: Any, tensor: str, batch: Any) -> Any:
    with tf.Session(graph=graph) as session:
        return session.run(tensor, {"x:0": batch})


NAMED_LIKE_THEIR_CONSTANTS = {
    "argmax": lambda x: tf.argmax(x, 1, name="best"),
    "reshape": lambda x: tf.reshape(x, [-1, 3, 2], name="best"),
    "mean": lambda x: tf.reduce_mean(tf.reshape(x, [-1, 3, 2]), [1], name="best"),
    "transpose": lambda x: tf.transpose(tf.reshape(x, [-1, 3, 2]), [0, 2, 1], name="best"),
    "division": lambda x: tf.divide(x, 255.0, name="best"),
    "normalised": lambda x: tf.identity(tf.nn.l2_normalize(x, 1, name="best/norm"), name="best"),
}


@pytest.mark.parametrize("piece", [1, 2**18], ids=["piece by piece", "in one piece"])
@pytest.mark.parametrize("kind", NAMED_LIKE_THEIR_CONSTANTS)
def test_every_node_has_its_own_name(
    kind: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_import, "_PIECE_BYTES", piece)
    definition = definition_of(NAMED_LIKE_THEIR_CONSTANTS[kind])
    batch = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    with tf.Graph().as_default() as plain:
        tf.import_graph_def(definition, name="")
    graph = import_graph(definition)
    computing = {node.name for node in definition.node if node.op != "Const"}
    assert computing <= {operation.name for operation in graph.get_operations()}
    np.testing.assert_array_equal(answer(graph, "best:0", batch), answer(plain, "best:0", batch))


def test_constants_that_are_named_below_each_other_are_kept_apart() -> None:
    def build(x: Any) -> None:
        memory = tf.constant(np.arange(6.0, dtype=np.float32), name="memory")
        key = tf.constant(np.ones(6, np.float32), name="memory/key")
        constants = tf.constant(2.0, name="constants/0")
        tf.identity(x * memory + key * constants, name="y")

    graph = import_graph(definition_of(build))
    batch = np.ones((1, 6), np.float32)
    np.testing.assert_array_equal(answer(graph, "y:0", batch)[0], np.arange(6.0) + 2)


def test_a_constant_that_is_asked_for_keeps_its_name() -> None:
    def build(x: Any) -> None:
        tf.constant([3.0], name="table")
        tf.identity(x, name="table/used")

    graph = import_graph(definition_of(build), ["table:0"])
    with tf.Session(graph=graph) as session:
        assert session.run("table:0") == [3.0]


def test_waiting_for_a_constant_is_no_reason_to_fail() -> None:
    def build(x: Any) -> None:
        ready = tf.constant(1.0, name="ready")
        with tf.control_dependencies([ready]):
            below = tf.constant(2.0, name="waits")
            tf.add(x, below, name="y")

    definition = definition_of(build)
    assert any("^ready" in node.input for node in definition.node)
    graph = import_graph(definition)
    assert answer(graph, "y:0", np.zeros((1, 6), np.float32)).tolist() == [[2.0] * 6]


@pytest.mark.parametrize(
    ("op", "inputs"),
    [("NoSuchOp", []), ("Identity", ["not there"]), ("Identity", ["^not there"]), ("AddV2", ["x"])],
)
def test_what_tensorflow_does_not_take_is_said_in_its_words(op: str, inputs: list[str]) -> None:
    definition = definition_of(lambda x: tf.identity(x, name="y"))
    node = definition.node.add(name="broken", op=op)
    node.input.extend(inputs)
    with pytest.raises(errors.EngineFailed, match="TensorFlow cannot import the graph"):
        import_graph(definition)
