from __future__ import annotations

import pytest

from exporter_service.architectures.architecture import Variable
from exporter_service.architectures.registry import find_architecture
from exporter_service.checkpoint_match import check_match
from service_kit import errors
from tests.support.digits import SPEC

ARCHITECTURE = find_architecture("densenet")
VARIABLES = dict(ARCHITECTURE.variables(ARCHITECTURE.parse(SPEC.parameters)))
SHAPES = {name: variable.shape for name, variable in VARIABLES.items()}


def test_all_variables_match() -> None:
    check_match("densenet", VARIABLES, SHAPES | {"w/Adam": (1,), "global_step": ()}, "model.ckpt")


def test_a_variable_that_is_only_there_as_a_shadow_matches() -> None:
    name = "densenet_digits/conv1/weights"
    shapes = {key: shape for key, shape in SHAPES.items() if key != name}
    shapes[f"{name}/ExponentialMovingAverage"] = SHAPES[name]
    check_match("densenet", VARIABLES, shapes, "model.ckpt")


def test_missing_extra_and_misshapen_keys_are_counted_and_listed() -> None:
    shapes = dict(SHAPES)
    del shapes["densenet_digits/logits/biases"]
    shapes["densenet_digits/logits/weights"] = (1, 1, 2, 3)
    shapes |= {f"head/w{number:02d}": (1,) for number in range(12)} | {"w/Adam": (1,)}
    with pytest.raises(errors.CheckpointMismatch) as caught:
        check_match("densenet", VARIABLES, shapes, "model.ckpt-300")
    message = str(caught.value)
    assert "model.ckpt-300 is not a checkpoint of this densenet (121 variables)" in message
    assert "missing 1: densenet_digits/logits/biases;" in message
    assert "extra 12: head/w00, " in message
    assert "head/w09 and 2 more;" in message
    assert "head/w10" not in message
    assert "Adam" not in message
    assert (
        "misshapen 1: densenet_digits/logits/weights is [1, 1, 2, 3], needs [1, 1, 50, 10]"
        in message
    )
    assert message.endswith("None of the known architectures fits its keys")


def test_what_would_fit_is_named_with_its_parameters() -> None:
    wrong = {"other/weights": Variable((1,), trainable=True)}
    with pytest.raises(errors.CheckpointMismatch) as caught:
        check_match("other", wrong, SHAPES, "model.ckpt")
    message = str(caught.value)
    assert "Its keys fit densenet " in message
    for part in ("classes=10", "scope=densenet_digits", "growth_rate=8", "layers=[3, 4, 3]"):
        assert part in message


def test_a_member_of_the_family_is_recognised_by_its_keys() -> None:
    architecture = find_architecture("densenet169")
    variables = architecture.variables(architecture.parse({"classes": 7}))
    shapes = {name: variable.shape for name, variable in variables.items()}
    with pytest.raises(errors.CheckpointMismatch, match="Its keys fit densenet169 classes=7 or"):
        check_match("densenet", VARIABLES, shapes, "model.ckpt")
