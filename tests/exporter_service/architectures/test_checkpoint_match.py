from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from exporter_service.architectures.architecture import Variable
from exporter_service.architectures.checkpoint_match import check_match, described_fits, mismatch
from exporter_service.architectures.registry import find_architecture
from exporter_service.checkpoints.contents import StoredTensor
from exporter_service.checkpoints.key_rewrites import KeyRewrite, parse_rewrites, rewritten
from service_kit import errors
from service_kit.artifacts.manifest import MovingAverageMode
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
    rewrites: Sequence[KeyRewrite] = (),
) -> None:
    tensors = {key: StoredTensor(shape, dtype) for key, shape in shapes.items()}
    check_match(architecture, variables, tensors, checkpoint, mode, rewrites)


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
    assert "extra 12: head/w00 and 11 more;" in message
    assert "Adam" not in message
    assert (
        "misshapen 1: densenet_digits/logits/weights is [1, 1, 2, 3], needs [1, 1, 50, 10]"
        in message
    )
    assert message.startswith("None of the known architectures fits its keys. ")
    # Three lines of a terminal, with the longest names that there are today.
    assert len(message) < 3 * 110


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


@pytest.mark.parametrize(
    ("prefix", "suffix", "options"),
    [
        ("tower_0/", "", "--key-map '^tower_0/='"),
        ("tower_0/", ":0", "--key-map ':0$=' --key-map '^tower_0/='"),
    ],
)
def test_a_change_of_all_keys_that_would_do_is_suggested(
    prefix: str, suffix: str, options: str
) -> None:
    shapes = {f"{prefix}{key}{suffix}": shape for key, shape in SHAPES.items()}
    with pytest.raises(errors.CheckpointMismatch) as caught:
        check("densenet", VARIABLES, shapes | {"global_step": ()})
    assert str(caught.value).startswith(f"These keys would match with {options}. ")
    assert "None of the known" not in str(caught.value)
    texts = [option.strip("'") for option in options.split() if option != "--key-map"]
    names = rewritten(shapes, parse_rewrites(texts))
    check("densenet", VARIABLES, {name: shapes[key] for name, key in names.items()})


def test_a_suggestion_repeats_what_was_given() -> None:
    shapes = {f"tower_0/{key}": shape for key, shape in SHAPES.items()}
    with pytest.raises(errors.CheckpointMismatch) as caught:
        check("densenet", VARIABLES, shapes, rewrites=[KeyRewrite("a=", "x")])
    assert "match with --key-map a==x --key-map '^tower_0/='" in str(caught.value)


def test_nothing_is_suggested_that_would_not_pass() -> None:
    shapes = {f"tower_0/{key}": shape for key, shape in SHAPES.items()}
    averaged = {f"{key}/ExponentialMovingAverage": shape for key, shape in shapes.items()}
    refused: tuple[dict[str, Any], ...] = (
        {"shapes": averaged, "mode": OFF},
        {"shapes": shapes, "dtype": "int32"},
        {"shapes": shapes | dict.fromkeys(averaged, (1,))},
    )
    for arguments in refused:
        with pytest.raises(errors.CheckpointMismatch) as caught:
            check("densenet", VARIABLES, **arguments)
        assert "--key-map" not in str(caught.value)


def test_a_checkpoint_of_objects_is_said_to_be_one() -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "_CHECKPOINTABLE_OBJECT_GRAPH": (),
        "model/layer-1/kernel/.ATTRIBUTES/VARIABLE_VALUE": (7, 7, 3, 16),
    }
    with pytest.raises(
        errors.CheckpointMismatch,
        match=r"save it with tf\.compat\.v1\.train\.Saver: it is an object-based checkpoint of "
        r"TensorFlow 2 .*\. ckpt-1 is not .* missing 121: ",
    ):
        check("densenet", VARIABLES, shapes, "ckpt-1")


def test_beside_keys_of_objects_a_variable_matches_all_the_same() -> None:
    check("densenet", VARIABLES, SHAPES | {"_CHECKPOINTABLE_OBJECT_GRAPH": ()})


def test_other_callers_get_the_same_advice() -> None:
    wanted = {"conv/w": (3,), "conv/b": (4,)}
    tensors = {f"t/{key}": StoredTensor(shape, "int8") for key, shape in wanted.items()}
    assert str(mismatch("it lacks 2", wanted, tensors, [KeyRewrite("a", "b")])) == (
        "These keys would match with --key-map a=b --key-map '^t/='. it lacks 2"
    )
    assert str(mismatch("it lacks 2", wanted | {"c": (1,)}, tensors)) == "it lacks 2"
    objects = {"_CHECKPOINTABLE_OBJECT_GRAPH": StoredTensor((), "string")}
    assert str(mismatch("it lacks 2", wanted, objects)).startswith("Load it where it was made")


def test_what_fits_is_a_sentence() -> None:
    assert described_fits([]) == "None of the known architectures fits its keys"
    assert described_fits([SPEC]).startswith("Its keys fit densenet scope=densenet_digits ")
