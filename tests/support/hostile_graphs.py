"""Frozen graphs that harm whoever loads or runs them, for images of 2x2x3 and three classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf

from service_kit.artifacts.manifest import Manifest
from service_kit.store.artifact_store import ArtifactStore
from tests.support.manifests import conversion, graph_file

# The first pixel of an image that makes a graph hostile that is harmless while it is warmed.
TRIGGER = 12345.0


def made(build: Callable[[Any], Any], change: Callable[[Any], None] | None = None) -> bytes:
    """Returns a graph file: channel means of `input`, through `build`, as `probs`."""
    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.float32, [None, 2, 2, 3], name="input")
        tf.identity(build(tf.reduce_mean(images, [1, 2])), name="probs")
    definition = graph.as_graph_def()
    if change:
        change(definition)
    return bytes(definition.SerializeToString(deterministic=True))


def plain(offset: float = 0.0) -> bytes:
    """Adds a number."""
    return made(lambda means: means + offset)


def endless() -> bytes:
    """Never comes back, whatever it is fed."""
    return made(lambda means: means + _loop(tf.constant(True)))


def endless_on_trigger() -> bytes:
    """Never comes back when it is fed the trigger."""
    return made(lambda means: means + _loop(tf.equal(tf.reduce_max(means), TRIGGER)))


def huge_on_trigger() -> bytes:
    """Wants 100 GiB when it is fed the trigger."""

    def build(means: Any) -> Any:
        rows = tf.where(tf.equal(tf.reduce_max(means), TRIGGER), 100 * 1024, 1)
        big = tf.fill(tf.stack([rows, tf.constant(2**18)]), 1.0)
        return means + tf.reduce_max(big) - 1.0

    return made(build)


def huge() -> bytes:
    """Wants 100 GiB, whatever it is fed."""
    return made(lambda means: means + tf.reduce_max(tf.fill([100 * 1024, 2**18], 1.0)) - 1.0)


def reads_a_file() -> bytes:
    """Answers with the length of a file of the server's."""

    def build(means: Any) -> Any:
        content = tf.io.read_file("/etc/passwd")
        return means + tf.cast(tf.strings.length(content), tf.float32)

    return made(build)


def calls_itself(depth: int = 1) -> bytes:
    """Has functions that call each other in a circle."""
    return made(lambda means: means, lambda graph: _functions(graph, depth, circle=True))


def calls_deep(depth: int = 5000) -> bytes:
    """Has functions inside functions."""
    return made(lambda means: means, lambda graph: _functions(graph, depth, circle=False))


def names_no_op() -> bytes:
    """Has an op that no release knows."""
    return made(lambda means: means, lambda graph: setattr(_node(graph, "probs"), "op", "NoSuchOp"))


def waits_for_itself() -> bytes:
    """Has an output that is its own input."""

    def change(graph: Any) -> None:
        _node(graph, "probs").input[0] = "probs"

    return made(lambda means: means, change)


def claims_a_huge_constant() -> bytes:
    """Has a constant of 10 GiB in a few bytes."""

    def change(graph: Any) -> None:
        node = graph.node.add(name="big", op="Const")
        node.attr["dtype"].type = 1
        tensor = node.attr["value"].tensor
        tensor.dtype = 1
        for size in (2560, 1024, 1024):
            tensor.tensor_shape.dim.add(size=size)
        tensor.float_val.append(1.0)
        _node(graph, "probs").input.append("^big")

    return made(lambda means: means, change)


def publish(store: ArtifactStore, folder: Path, model: str, graph: bytes) -> Manifest:
    """Publishes a graph without the exporter, which would refuse most of these."""
    folder.mkdir(parents=True, exist_ok=True)
    return store.publish(model, conversion(graph), graph_file(folder, graph))


def _loop(condition: Any) -> Any:
    def go_on(number: Any) -> Any:
        return tf.logical_and(condition, tf.less(number, 2.0))

    return tf.while_loop(go_on, lambda number: number * 1.0, [tf.constant(1.0)]) - 1.0


def _functions(graph: Any, depth: int, *, circle: bool) -> None:
    for level in range(depth):
        function = graph.library.function.add()
        function.signature.name = f"f{level}"
        function.signature.input_arg.add(name="a", type=1)
        function.signature.output_arg.add(name="o", type=1)
        node = function.node_def.add(name="n")
        node.input.append("a")
        if circle or level < depth - 1:
            _call(node, f"f{(level + 1) % depth}")
            function.ret["o"] = "n:output:0"
        else:
            node.op = "Identity"
            node.attr["T"].type = 1
            function.ret["o"] = "n:output:0"
    _call(_node(graph, "probs"), "f0")


def _call(node: Any, function: str) -> None:
    node.op = "PartitionedCall"
    if "T" in node.attr:
        del node.attr["T"]
    node.attr["Tin"].list.type.append(1)
    node.attr["Tout"].list.type.append(1)
    node.attr["f"].func.name = function


def _node(graph: Any, name: str) -> Any:
    return next(node for node in graph.node if node.name == name)
