from __future__ import annotations

import pytest
import tensorflow.compat.v1 as tf

from exporter_service.architectures.plugin_descriptions import describe_plugins
from exporter_service.architectures.plugin_loading import load_plugin
from exporter_service.architectures.registry import find_architecture
from service_kit import errors
from service_kit.artifacts.manifest import Preprocessing
from tests.support.plug_ins import Install

FUNCTION = '''
from __future__ import annotations
import tensorflow.compat.v1 as tf

def net(images: tf.Tensor, *, classes: int = 10, widths: tuple[int, ...] = (4, 8)):
    """A net.

    More of it.
    """
    for number, width in enumerate(widths):
        weights = tf.get_variable(f"w{number}", [1, 1, int(images.shape[3]), width])
        images = tf.nn.relu(tf.nn.conv2d(images, weights, 1, "SAME"))
    features = tf.reduce_mean(images, [1, 2])
    return tf.matmul(features, tf.get_variable("logits", [int(features.shape[1]), classes]))
'''
PLUGIN = (
    FUNCTION
    + """
from pydantic import BaseModel
from exporter_service.architectures.plugin import Plugin
from service_kit.artifacts.manifest import Preprocessing

class Parameters(BaseModel):
    labels: tuple[str, ...]

def several(images, parameters):
    logits = net(images, classes=len(parameters.labels))
    return {"probs": tf.nn.softmax(logits), "best": tf.argmax(logits, axis=1)}

offered = Plugin(
    build=several,
    parameters=Parameters,
    summary="Two outputs.",
    image_size=(16, 24),
    preprocessing=Preprocessing(mean=(1.0, 2.0, 3.0)),
    output_name="unused",
)
"""
)


def test_a_function_is_an_architecture(install: Install) -> None:
    install("acme/tiny", "net", FUNCTION)
    found = find_architecture("acme/tiny")
    assert found.name == "acme/tiny"
    assert found.summary == "A net."
    assert found.image_size == (224, 224)
    assert found.output_name == "probs"
    assert found.traced
    variables = found.variables(found.parse({"classes": 3, "widths": [5]}))
    assert {name: variable.shape for name, variable in variables.items()} == {
        "w0": (1, 1, 3, 5),
        "logits": (5, 3),
    }


def test_a_plugin_has_its_own_defaults_and_outputs(install: Install) -> None:
    install("tiny", "offered", PLUGIN)
    found = load_plugin("tiny")
    assert found.summary == "Two outputs."
    assert found.image_size == (16, 24)
    assert found.preprocessing == Preprocessing(mean=(1.0, 2.0, 3.0))
    assert found.output_name == "unused"
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, 16, 24, 3])
        outputs = found.build(images, found.parse({"labels": ["cat", "dog"]}))
        assert {name: tensor.shape.as_list() for name, tensor in outputs.items()} == {
            "probs": [None, 2],
            "best": [None],
        }


def test_parameters_are_checked_by_the_plugins_model(install: Install) -> None:
    install("tiny", "net", FUNCTION)
    install("other", "offered", PLUGIN)
    with pytest.raises(errors.InvalidParameters, match=r"tiny: classes is 2\.5"):
        load_plugin("tiny").parse({"classes": 2.5})
    with pytest.raises(errors.InvalidParameters, match="no parameter depth; it takes classes"):
        load_plugin("tiny").parse({"depth": 3})
    with pytest.raises(errors.InvalidParameters, match="other: labels is missing"):
        load_plugin("other").parse({})


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("def nett(images): ...", "AttributeError: module .* has no attribute 'net'"),
        ("import sys\nsys.exit('stop')", "SystemExit: stop"),
        ("net = 3", "TypeError: build is 3, and not a function"),
        ("def net(images, classes=10): ...", "TypeError: .* classes=10 is not keyword-only"),
        ("def net(images, *, classes: 'Missing' = 1): ...", "PydanticUserError"),
        (
            "import typing\ndef net(images, *, activation: typing.Callable[[int], int]): ...",
            "PydanticInvalidForJsonSchema",
        ),
    ],
)
def test_what_cannot_be_loaded_is_named_with_its_package(
    install: Install, code: str, problem: str
) -> None:
    module = install("tiny", "net", code)
    expected = rf"the plug-in tiny \({module}:net of {module} 1.0\) cannot be loaded: {problem}"
    with pytest.raises(errors.Unconvertible, match=expected):
        load_plugin("tiny")


def test_descriptions_tell_the_good_from_the_bad(install: Install) -> None:
    install("tiny", "net", FUNCTION)
    install("broken", "net", "1 / 0")
    install("densenet", "net", FUNCTION)
    install("slim/mine", "net", FUNCTION)
    broken, taken, slim, tiny = describe_plugins(lambda _: None)
    assert (broken.name, broken.image_size) == ("broken", None)
    assert "ZeroDivisionError: division by zero" in broken.error
    assert "another name" in taken.error
    assert "another name" in slim.error
    assert (tiny.name, tiny.summary, tiny.image_size, tiny.error) == (
        "tiny",
        "A net.",
        (224, 224),
        "",
    )
    assert tiny.parameter_schema["properties"]["classes"]["default"] == 10
