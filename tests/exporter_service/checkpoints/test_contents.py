from __future__ import annotations

import pytest

from exporter_service.checkpoints.contents import (
    CheckpointContents,
    StoredTensor,
    is_object_based,
    is_shadow,
    is_training_state,
)
from service_kit.artifacts.manifest import CheckpointFormat, CheckpointOrigin

ORIGIN = CheckpointOrigin("model.ckpt-7", 7, CheckpointFormat.V2, "0" * 64)


def contents(**tensors: StoredTensor) -> CheckpointContents:
    return CheckpointContents(ORIGIN, 1, tensors, ())


@pytest.mark.parametrize(
    "key",
    ["w/ExponentialMovingAverage", "w/ExponentialMovingAverage:0", "w:0/ExponentialMovingAverage"],
)
def test_a_shadow_is_one_as_a_tensor_name_too(key: str) -> None:
    assert is_shadow(key)
    assert not is_training_state(key)


@pytest.mark.parametrize("key", ["w/Adam", "w/Adam_1:0", "w/Momentum:0", "a/beta1_power:0"])
def test_training_state_is_that_as_a_tensor_name_too(key: str) -> None:
    assert is_training_state(key)
    assert not is_shadow(key)


@pytest.mark.parametrize("key", ["w", "w:0", "ExponentialMovingAverage", "Adam", "a/Adam_1/w:0"])
def test_a_variable_is_neither(key: str) -> None:
    assert not is_shadow(key)
    assert not is_training_state(key)


def test_model_variables_are_counted_in_elements_and_in_bytes_by_dtype() -> None:
    tensors = {
        "w": StoredTensor((3, 5), "float32"),
        "b": StoredTensor((5,), "float32"),
        "h": StoredTensor((7,), "bfloat16"),
        "n": StoredTensor((), "int64"),
        "vocabulary": StoredTensor((4,), "string"),
        "w/Adam": StoredTensor((3, 5), "float32"),
        "w/ExponentialMovingAverage:0": StoredTensor((3, 5), "float32"),
        "global_step": StoredTensor((), "int64"),
    }
    found = contents(**tensors)
    assert found.parameter_count == 15 + 5 + 7 + 1 + 4
    assert found.parameter_bytes == {"bfloat16": 14, "float32": 80, "int64": 8}
    assert list(found.parameter_bytes) == ["bfloat16", "float32", "int64"]
    assert (found.shadow_count, found.optimizer_slot_count) == (1, 2)


def test_keys_of_objects_are_recognised() -> None:
    assert is_object_based(["_CHECKPOINTABLE_OBJECT_GRAPH"])
    assert is_object_based(["save_counter/.ATTRIBUTES/VARIABLE_VALUE"])
    assert not is_object_based(["a/ATTRIBUTES", "w"])
