from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.architectures import registry
from exporter_service.architectures.architecture import Variable
from exporter_service.architectures.registry import (
    architecture_names,
    check_spec,
    find_architecture,
    fitting_architectures,
)
from exporter_service.architectures.slim_nets import SLIM_ARCHITECTURES
from service_kit import errors
from service_kit.artifacts.manifest import ArchitectureSpec

# Numbers of model variables and of those that are trained, and some of the names and shapes
# that the published checkpoints have.
NETS: dict[str, tuple[int, int, dict[str, tuple[int, ...]]]] = {
    "resnet_v1_50": (
        267,
        161,
        {
            "resnet_v1_50/conv1/weights": (7, 7, 3, 64),
            "resnet_v1_50/block1/unit_1/bottleneck_v1/shortcut/BatchNorm/gamma": (256,),
            "resnet_v1_50/block4/unit_3/bottleneck_v1/conv3/BatchNorm/moving_mean": (2048,),
            "resnet_v1_50/logits/weights": (1, 1, 2048, 1000),
        },
    ),
    "resnet_v1_101": (
        522,
        314,
        {"resnet_v1_101/block3/unit_23/bottleneck_v1/conv2/weights": (3, 3, 256, 256)},
    ),
    "resnet_v1_152": (
        777,
        467,
        {"resnet_v1_152/block3/unit_36/bottleneck_v1/conv2/weights": (3, 3, 256, 256)},
    ),
    "resnet_v2_50": (
        272,
        174,
        {
            "resnet_v2_50/conv1/biases": (64,),
            "resnet_v2_50/block1/unit_1/bottleneck_v2/preact/moving_variance": (64,),
            "resnet_v2_50/block1/unit_1/bottleneck_v2/conv3/biases": (256,),
            "resnet_v2_50/postnorm/beta": (2048,),
            "resnet_v2_50/logits/biases": (1001,),
        },
    ),
    "resnet_v2_101": (
        544,
        344,
        {"resnet_v2_101/block3/unit_23/bottleneck_v2/conv2/weights": (3, 3, 256, 256)},
    ),
    "resnet_v2_152": (
        816,
        514,
        {"resnet_v2_152/block3/unit_36/bottleneck_v2/conv2/weights": (3, 3, 256, 256)},
    ),
    "inception_v1": (
        230,
        116,
        {
            "InceptionV1/Conv2d_1a_7x7/BatchNorm/moving_mean": (64,),
            "InceptionV1/Mixed_5b/Branch_2/Conv2d_0a_3x3/weights": (3, 3, 32, 128),
            "InceptionV1/Logits/Conv2d_0c_1x1/weights": (1, 1, 1024, 1001),
        },
    ),
    "inception_v2": (
        277,
        141,
        {
            "InceptionV2/Conv2d_1a_7x7/depthwise_weights": (7, 7, 3, 8),
            "InceptionV2/Conv2d_1a_7x7/pointwise_weights": (1, 1, 24, 64),
            "InceptionV2/Logits/Conv2d_1c_1x1/biases": (1001,),
        },
    ),
    "inception_v3": (
        378,
        190,
        {
            "InceptionV3/Conv2d_1a_3x3/weights": (3, 3, 3, 32),
            "InceptionV3/Mixed_7c/Branch_3/Conv2d_0b_1x1/BatchNorm/beta": (192,),
            "InceptionV3/Logits/Conv2d_1c_1x1/weights": (1, 1, 2048, 1001),
        },
    ),
    "vgg_16": (
        32,
        32,
        {
            "vgg_16/conv1/conv1_1/weights": (3, 3, 3, 64),
            "vgg_16/fc6/weights": (7, 7, 512, 4096),
            "vgg_16/fc8/biases": (1000,),
        },
    ),
    "vgg_19": (38, 38, {"vgg_19/conv5/conv5_4/weights": (3, 3, 512, 512)}),
}


# Tracing takes seconds: the deeper nets are left to `make test-slow`.
DEEP = [name for name in NETS if name.endswith(("_101", "_152"))]
OTHERS = [name for name in NETS if name not in DEEP]


@cache
def traced(name: str, **parameters: Any) -> Mapping[str, Variable]:
    found = find_architecture(f"slim/{name}")
    return found.variables(found.parse(parameters))


def shapes_of(variables: Mapping[str, Variable]) -> dict[str, tuple[int, ...]]:
    return {key: variable.shape for key, variable in variables.items()}


def slow(names: list[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


def test_every_net_is_listed() -> None:
    assert {f"slim/{name}" for name in NETS} == SLIM_ARCHITECTURES.keys()
    assert set(architecture_names()) >= SLIM_ARCHITECTURES.keys()


@pytest.mark.parametrize("name", [*OTHERS, *slow(DEEP)])
def test_a_net_has_the_variables_of_its_published_checkpoint(name: str) -> None:
    variables = traced(name)
    count, trained, some = NETS[name]
    assert len(variables) == count
    assert sum(variable.trainable for variable in variables.values()) == trained
    assert {key: variables[key].shape for key in some} == some
    assert {variable.dtype for variable in variables.values()} == {"float32"}
    # Only training needs the second head.
    assert not any("AuxLogits" in key for key in variables)


@pytest.mark.parametrize(
    "name", ["vgg_16", *slow(["resnet_v1_50", "resnet_v2_50", "inception_v2", "inception_v3"])]
)
def test_the_number_of_classes_changes_the_last_layer_alone(name: str) -> None:
    usual, other = shapes_of(traced(name)), shapes_of(traced(name, classes=7))
    changed = [key for key, shape in usual.items() if other[key] != shape]
    assert len(changed) == 2
    assert {other[key][-1] for key in changed} == {7}


@pytest.mark.parametrize(
    ("name", "size", "mean", "output"),
    [
        ("vgg_16", 224, 123.68, "predictions"),
        ("resnet_v1_50", 224, 123.68, "predictions"),
        ("resnet_v2_50", 224, 127.5, "predictions"),
        ("inception_v1", 224, 127.5, "Predictions"),
        ("inception_v3", 299, 127.5, "Predictions"),
    ],
)
def test_the_defaults_are_those_of_the_publication(
    name: str, size: int, mean: float, output: str
) -> None:
    found = find_architecture(f"slim/{name}")
    assert found.image_size == (size, size)
    assert found.preprocessing.mean[0] == mean
    assert found.preprocessing.scale == ((1 / 127.5,) * 3 if mean == 127.5 else ())
    assert found.output_name == output


@pytest.mark.parametrize("name", ["vgg_16", *slow(["resnet_v1_50", "inception_v1"])])
def test_two_cards_share_the_variables(name: str) -> None:
    found = find_architecture(f"slim/{name}")
    parameters = found.parse({"classes": 3})
    with tf.Graph().as_default():
        for card in ("Card_0", "Card_1"):
            with tf.name_scope(card):
                images = tf.placeholder(tf.float32, [None, 224, 224, 3])
                logits = found.build(images, parameters)
                assert logits.shape.as_list() == [None, 3]
                assert logits.op.name.startswith(f"{card}/")
        built = [variable.op.name for variable in tf.global_variables()]
    assert built == list(traced(name))


def test_answers_are_those_of_tf_slim_and_of_each_image_alone() -> None:
    import tf_slim
    from tf_slim.nets import resnet_v1

    found = find_architecture("slim/resnet_v1_50")
    random = np.random.default_rng(0)
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, [None, 32, 32, 3])
        probs = tf.nn.softmax(found.build(images, found.parse({"classes": 3})))
        with (
            tf.variable_scope(tf.get_variable_scope(), reuse=True),
            tf_slim.arg_scope(resnet_v1.resnet_arg_scope()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            _, points = resnet_v1.resnet_v1_50(images, 3, is_training=False)
        initializers = [variable.initializer for variable in tf.global_variables()]
        values = {
            one.inputs[1]: random.uniform(0.5, 1.0, one.inputs[1].shape) / 30
            for one in initializers
        }
        session.run(initializers, values)
        batch = random.normal(size=(4, 32, 32, 3))
        together, wanted = session.run([probs, points["predictions"]], {images: batch})
        alone = session.run(probs, {images: batch[:1]})
    assert np.ptp(wanted) > 0
    np.testing.assert_allclose(together, wanted[:, 0, 0], atol=1e-6)
    # Not so with statistics of the batch.
    np.testing.assert_allclose(alone, together[:1], atol=1e-6)


def test_an_image_size_that_a_net_cannot_take_is_named() -> None:
    found = find_architecture("slim/vgg_16")
    with pytest.raises(errors.Unconvertible, match="slim/vgg_16 cannot be built for images of 32x"):
        found.variables(found.parse({}), (32, 32))


def test_a_checkpoint_of_a_net_is_recognised() -> None:
    shapes = shapes_of(traced("vgg_16", classes=7)) | {"global_step": (), "vgg_16/mean_rgb": (3,)}
    assert fitting_architectures(shapes) == [ArchitectureSpec("slim/vgg_16", {"classes": 7})]
    shapes["vgg_16/conv1/conv1_1/weights"] = (7, 7, 3, 64)
    assert fitting_architectures(shapes) == []


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "slim_is_installed", lambda: False)
    for spec in (ArchitectureSpec("slim/vgg_16", {}), ArchitectureSpec("slim/unknown", {})):
        with pytest.raises(errors.ArchitectureNotFound, match=r"pip install 'pbserve\[slim\]'"):
            check_spec(spec)
    assert not any(name.startswith("slim/") for name in architecture_names())
