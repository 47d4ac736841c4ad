from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.architectures.densenet import densenet, inference_logits
from exporter_service.architectures.densenet_plan import DenseNetParameters
from exporter_service.architectures.registry import find_architecture
from exporter_service.conversion.convert import convert
from exporter_service.graphs.session import session_config
from service_kit.artifacts.manifest import ArchitectureSpec, MovingAverageMode
from tests.support.digits import digits_spec

SMALL = DenseNetParameters(
    classes=4, scope="net", growth_rate=4, initial_filters=8, layers=(2, 2), dropout_rate=0.2
)


def built(name: str, size: int) -> dict[str, tuple[tuple[int, ...], bool]]:
    architecture = find_architecture(name)
    parameters = architecture.parse({"classes": 2})
    with tf.Graph().as_default():
        logits = architecture.build(tf.zeros([1, size, size, 3]), parameters)
        assert logits.shape.as_list() == [1, 2]
        trainable = {variable.op.name for variable in tf.trainable_variables()}
        return {
            variable.op.name: (tuple(variable.shape.as_list()), variable.op.name in trainable)
            for variable in tf.global_variables()
        }


@pytest.mark.parametrize("name", ["densenet121", "densenet161", "densenet169"])
def test_the_builder_makes_exactly_the_planned_variables(name: str) -> None:
    architecture = find_architecture(name)
    planned = architecture.variables(architecture.parse({"classes": 2}))
    assert built(name, 224) == {key: (var.shape, var.trainable) for key, var in planned.items()}


def test_the_layouts_give_the_same_answers() -> None:
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    answers = {}
    for layout in ("NHWC", "NCHW"):
        parameters = SMALL.model_copy(update={"data_format": layout})
        with tf.Graph().as_default() as graph:
            tf.set_random_seed(1)
            logits = inference_logits(tf.constant(images), parameters)
            values = np.random.default_rng(1)
            with tf.Session(config=session_config(as_written=graph)) as session:
                for variable in tf.global_variables():
                    value = values.uniform(0.5, 1.5, variable.shape.as_list())
                    session.run(variable.initializer, {variable.initializer.inputs[1]: value})
                answers[layout] = session.run(logits)
    np.testing.assert_allclose(answers["NCHW"], answers["NHWC"], rtol=1e-4)


def test_a_training_graph_has_decay_updates_and_dropout() -> None:
    with tf.Graph().as_default() as graph:
        densenet(tf.zeros([2, 32, 32, 3]), SMALL, training=True)
        convolutions = sum(v.op.name.endswith("/weights") for v in tf.global_variables())
        norms = sum(v.op.name.endswith("/gamma") for v in tf.global_variables())
        assert len(tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)) == convolutions
        assert len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)) == 2 * norms
        assert all(
            op.get_attr("is_training")
            for op in graph.get_operations()
            if op.type == "FusedBatchNormV3"
        )
        assert any(
            op.type == "RandomUniform" and "dropout" in op.name for op in graph.get_operations()
        )


def _trained(folder: Path, images: Any) -> Any:
    """Trains through tf.data with moving averages; returns what inference should answer."""
    rng = np.random.default_rng(3)
    with tf.Graph().as_default(), tf.Session() as session:
        labels = rng.integers(0, 4, 16)
        data = tf.data.Dataset.from_tensor_slices(
            (rng.normal(size=(16, 32, 32, 3)).astype(np.float32), labels)
        )
        batch, wanted = tf.data.make_one_shot_iterator(data.repeat().batch(8)).get_next()
        logits = densenet(batch, SMALL, training=True)
        loss = tf.losses.sparse_softmax_cross_entropy(wanted, logits)
        loss += tf.add_n(tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES))
        step = tf.train.get_or_create_global_step()
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train = tf.train.AdamOptimizer(0.01).minimize(loss, step)
        average = tf.train.ExponentialMovingAverage(0.9)
        with tf.control_dependencies([train]):
            train = average.apply(tf.trainable_variables())
        evaluated = tf.nn.softmax(densenet(tf.constant(images), SMALL, training=False, reuse=True))
        # A shadow begins with its variable's value, so the variables come first.
        model = tf.model_variables()
        names = {variable.name for variable in model}
        session.run(tf.variables_initializer(model))
        others = [v for v in tf.global_variables() if v.name not in names]
        session.run(tf.variables_initializer(others))
        for _ in range(5):
            session.run(train)
        tf.train.Saver().save(session, str(folder / "model.ckpt"), step)
        restored = tf.train.Saver(average.variables_to_restore())
        restored.restore(session, tf.train.latest_checkpoint(str(folder)))
        return session.run(evaluated)


def test_a_model_trained_here_through_a_dataset_converts(tmp_path: Path) -> None:
    images = np.random.default_rng(4).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
    mean = np.array([177.26, 109.55, 168.66], np.float32)
    expected = _trained(tmp_path, images - mean)
    spec = ArchitectureSpec("densenet", SMALL.model_dump(mode="json"))
    conversion_spec = digits_spec(".", MovingAverageMode.REQUIRED, architecture=spec, root=tmp_path)
    done = convert(conversion_spec, tmp_path, lambda _: None)
    assert done.checkpoint.global_step == 5
    graph_def = tf.GraphDef.FromString((tmp_path / done.graph.file_name).read_bytes())
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        probs = session.run("probs:0", {"input:0": images})
    np.testing.assert_allclose(probs, expected, atol=1e-5)
