from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.graphs.towers import build_towers
from exporter_service.specs.conversion import TowerOptions
from service_kit.artifacts.manifest import Preprocessing, Tower


def logits_of(images: Any) -> Any:
    with tf.variable_scope("net", reuse=tf.AUTO_REUSE):
        weights = tf.get_variable("weights", [3, 2], use_resource=False)
        return tf.matmul(tf.reduce_mean(images, [1, 2]), weights)


def towers(cards: int, preprocessing: Preprocessing = Preprocessing()) -> tuple[Tower, ...]:  # noqa: B008
    return build_towers(
        logits_of,
        image_size=(4, 5),
        options=TowerOptions(cards=cards),
        preprocessing=preprocessing,
        output_name="probs",
    )


def test_one_tower_has_the_recipes_plain_names_and_no_device() -> None:
    with tf.Graph().as_default() as graph:
        (tower,) = towers(1)
        assert (tower.scope, tower.device) == ("", "")
        assert [s.tensor_name for s in (*tower.inputs, *tower.outputs)] == ["input:0", "probs:0"]
        assert tower.inputs[0].shape == (-1, 4, 5, 3)
        assert tower.outputs[0].shape == (-1, 2)
        assert tower.inputs[0].dtype == "float32"
        assert all(not op.device for op in graph.get_operations())


def test_several_towers_have_scopes_and_devices_and_share_every_variable() -> None:
    with tf.Graph().as_default() as graph:
        built = towers(3)
        assert [tower.inputs[0].tensor_name for tower in built] == [
            f"Card_{index}/input:0" for index in range(3)
        ]
        assert [tower.outputs[0].tensor_name for tower in built] == [
            f"Card_{index}/probs:0" for index in range(3)
        ]
        assert [tower.device for tower in built] == ["/gpu:0", "/gpu:1", "/gpu:2"]
        assert [variable.op.name for variable in tf.global_variables()] == ["net/weights"]
        for tower in built:
            node = graph.get_tensor_by_name(tower.outputs[0].tensor_name).op
            assert node.device.endswith(f"GPU:{tower.index}")


@pytest.mark.parametrize(
    ("preprocessing", "seen"),
    [
        (Preprocessing(), [10.0, 20.0, 30.0]),
        (Preprocessing(mean=(1, 2, 3)), [9.0, 18.0, 27.0]),
        (Preprocessing(scale=(2, 1, 0.5)), [20.0, 20.0, 15.0]),
        (Preprocessing(mean=(1, 2, 3), scale=(2, 1, 0.5)), [18.0, 18.0, 13.5]),
    ],
)
def test_the_mean_goes_before_the_scale(preprocessing: Preprocessing, seen: list[float]) -> None:
    fed = np.broadcast_to(np.array([10, 20, 30], np.float32), (1, 4, 5, 3))
    kept: list[Any] = []

    def keeping(images: Any) -> Any:
        kept.append(images)
        return tf.reduce_mean(images, [1, 2])

    with tf.Graph().as_default(), tf.Session() as session:
        build_towers(
            keeping,
            image_size=(4, 5),
            options=TowerOptions(),
            preprocessing=preprocessing,
            output_name="probs",
        )
        np.testing.assert_allclose(session.run(kept[0], {"input:0": fed})[0, 0, 0], seen)
