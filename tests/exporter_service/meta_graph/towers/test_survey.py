from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

from exporter_service.checkpoints.graph_contents import MetaGraphContents
from exporter_service.meta_graph.towers.survey import survey
from tests.support import training_graphs as zoo
from tests.support.digits import GOLDEN
from tests.support.meta_graph_conversions import batches


def surveyed(build: Any) -> MetaGraphContents:
    with tf.Graph().as_default():
        build()
        return survey(tf.train.export_meta_graph())


def test_the_golden_training_graph_is_described() -> None:
    path = Path(GOLDEN / "ckpt_ema" / "model.ckpt-300.meta")
    meta = MetaGraphDef.FromString(path.read_bytes())
    before = meta.SerializeToString(deterministic=True)
    found = survey(meta)
    assert meta.SerializeToString(deterministic=True) == before
    assert [(one.tensor_name, one.dtype, one.reaches_output) for one in found.inputs] == [
        ("IteratorGetNext:0", "float32", True),
        ("IteratorGetNext:1", "int32", False),
    ]
    assert found.outputs[0].tensor_name == "densenet_digits/predictions/Softmax:0"
    # The loss is a single number, and no answer.
    assert "Mean:0" not in {one.tensor_name for one in found.outputs}
    assert found.batch_norms == {"fused, training": 24}
    assert found.averaged_variables == 73


def test_towers_dropouts_and_norms_of_all_kinds_are_counted() -> None:
    def build() -> None:
        images, labels = batches()
        for index, part in enumerate(tf.split(images, 2)):
            with tf.name_scope(f"tower_{index}"):
                x = zoo.fused(zoo.convolution(part, 4, "a"), "bn1", training=True)
                x = zoo.unfused(zoo.convolution(x, 4, "b"), "bn2", training=True)
                x = zoo.unfused(zoo.convolution(tf.nn.relu(x), 4, "c"), "bn3", training=False)
                x = zoo.fused(zoo.convolution(x, 4, "d"), "bn4", training=False)
                x = tf.nn.dropout(tf.reduce_mean(x, [1, 2]), rate=0.5)
                logits = zoo.dense(x, 3, "out")
                tf.nn.softmax(logits)
        zoo.minimize(logits, tf.split(labels, 2)[1])

    found = surveyed(build)
    assert found.towers == ("tower_0", "tower_1")
    assert found.dropout_count == 2
    assert found.batch_norms == {
        "fused, inference": 2,
        "fused, training": 2,
        "unfused, inference": 2,
        "unfused, training or under a condition": 2,
    }
    assert {one.tensor_name for one in found.outputs[:2]} == {
        "tower_0/Softmax:0",
        "tower_1/Softmax:0",
    }


def test_unknown_ops_are_listed_with_their_reach() -> None:
    def build() -> None:
        x, labels = batches((12,))
        logits = zoo.dense(tf.identity(x, name="odd"), 3, "out")
        tf.nn.softmax(logits)
        tf.identity(logits, name="beside")
        zoo.minimize(logits, labels)

    with tf.Graph().as_default():
        build()
        meta = tf.train.export_meta_graph()
    for node in meta.graph_def.node:
        if node.name in {"odd", "beside"}:
            node.op = "OpOfAnotherLibrary"
    found = survey(meta)
    assert {(one.node, one.op, one.reaches_output) for one in found.unregistered_ops} == {
        ("odd", "OpOfAnotherLibrary", True),
        ("beside", "OpOfAnotherLibrary", False),
    }
