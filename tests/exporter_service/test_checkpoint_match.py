from __future__ import annotations

from collections.abc import Mapping

import pytest

from exporter_service.architectures.architecture import Variable
from exporter_service.architectures.registry import find_architecture
from exporter_service.checkpoint_contents import StoredTensor
from exporter_service.checkpoint_match import check_match
from service_kit import errors
from service_kit.manifest import MovingAverageMode
from tests.support.digits import SPEC

ARCHITECTURE = find_architecture("densenet")
VARIABLES = dict(ARCHITECTURE.variables(ARCHITECTURE.parse(SPEC.parameters)))
SHAPES = {name: variable.shape for name, variable in VARIABLES.items()}
AUTO, OFF = MovingAverageMode.AUTO, MovingAverageMode.OFF


def check(
    architecture: str,
    variables: Mapping[str, Variable],
    shapes: Mapping[str, tuple[int, ...]],
    checkpoint: str = "model.ckpt",
    mode: MovingAverageMode = AUTO,
    dtype: str = "float32",
) -> None:
    tensors = {key: StoredTensor(shape, dtype) for key, shape in shapes.items()}
    check_match(architecture, variables, tensors, checkpoint, mode)


def test_all_variables_match() -> None:
    check("densenet", VARIABLES, SHAPES | {"w/Adam": (1,), "global_step": ()}, "model.ckpt")


def test_a_variable_that_is_only_there_as_a_shadow_matches() -> None:
    name = "densenet_digits/conv1/weights"
    shapes = {key: shape for key, shape in SHAPES.items() if key != name}
    shapes[f"{name}/ExponentialMovingAverage"] = SHAPES[name]
    check("densenet", VARIABLES, shapes)
    with pytest.raises(errors.CheckpointMismatch, match=rf"missing 1: {name} \(it has {name}/Exp"):
        check("densenet", VARIABLES, shapes, mode=OFF)


def test_only_the_key_that_will_be_used_has_to_fit() -> None:
    name = "densenet_digits/conv1/weights"
    shapes = SHAPES | {f"{name}/ExponentialMovingAverage": (2, 2)}
    check("densenet", VARIABLES, shapes, mode=OFF)
    with pytest.raises(errors.CheckpointMismatch, match=r"Average is \[2, 2\], needs \[7, 7"):
        check("densenet", VARIABLES, shapes)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floats_are_taken(dtype: str) -> None:
    check("densenet", VARIABLES, SHAPES, dtype=dtype)


@pytest.mark.parametrize("dtype", ["int32", "string", "bool", "complex64"])
def test_what_is_not_floats_is_refused(dtype: str) -> None:
    with pytest.raises(errors.CheckpointMismatch, match=rf"weights holds {dtype}, needs floats"):
        check("densenet", VARIABLES, SHAPES, dtype=dtype)


def test_missing_extra_and_misshapen_keys_are_counted_and_listed() -> None:
    shapes = dict(SHAPES)
    del shapes["densenet_digits/logits/biases"]
    shapes["densenet_digits/logits/weights"] = (1, 1, 2, 3)
    shapes |= {f"head/w{number:02d}": (1,) for number in range(12)} | {"w/Adam": (1,)}
    with pytest.raises(errors.CheckpointMismatch) as caught:
        check("densenet", VARIABLES, shapes, "model.ckpt-300")
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
        check("other", wrong, SHAPES, "model.ckpt")
    message = str(caught.value)
    assert "Its keys fit densenet " in message
    for part in ("classes=10", "scope=densenet_digits", "growth_rate=8", "layers=[3, 4, 3]"):
        assert part in message


def test_a_member_of_the_family_is_recognised_by_its_keys() -> None:
    architecture = find_architecture("densenet169")
    variables = architecture.variables(architecture.parse({"classes": 7}))
    shapes = {name: variable.shape for name, variable in variables.items()}
    with pytest.raises(errors.CheckpointMismatch, match="Its keys fit densenet169 classes=7 or"):
        check("densenet", VARIABLES, shapes, "model.ckpt")
