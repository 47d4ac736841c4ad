from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inference_service.prediction.input_check import check_inputs
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec

IMAGES = TensorSpec("input", "input:0", "float32", (-1, 4, -1, 3))
AGE = TensorSpec("age", "age:0", "int64", (-1,))


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int8", "uint16", "bool"])
def test_takes_what_casts_without_loss(dtype: str) -> None:
    assert check_inputs({"input": np.zeros((5, 4, 9, 3), dtype)}, [IMAGES]) == 5


@pytest.mark.parametrize("dtype", ["float64", "int32", "int64", "uint32"])
def test_refuses_what_would_lose_digits(dtype: str) -> None:
    with pytest.raises(errors.InvalidTensor, match=f"is {dtype}; the model takes float32"):
        check_inputs({"input": np.zeros((5, 4, 9, 3), dtype)}, [IMAGES])


@pytest.mark.parametrize("shape", [(), (4, 9, 3), (1, 5, 9, 3), (1, 4, 9, 4), (1, 1, 4, 9, 3)])
def test_names_the_shape_that_came_and_the_one_expected(shape: tuple[int, ...]) -> None:
    with pytest.raises(errors.InvalidTensor) as caught:
        check_inputs({"input": np.zeros(shape, np.float32)}, [IMAGES])
    assert f"has shape {list(shape)}" in str(caught.value)
    assert "takes [images, 4, any, 3]" in str(caught.value)


@pytest.mark.parametrize("names", [[], ["images"], ["input", "more"]])
def test_names_the_inputs_that_came_and_those_expected(names: list[str]) -> None:
    inputs = dict.fromkeys(names, np.zeros((1, 4, 9, 3), np.float32))
    with pytest.raises(errors.InvalidTensor, match=r"the model takes \['input'\]"):
        check_inputs(inputs, [IMAGES])


def test_inputs_must_agree_on_the_number_of_images() -> None:
    inputs: dict[str, np.ndarray[Any, Any]] = {
        "input": np.zeros((2, 4, 4, 3), np.float32),
        "age": np.zeros(3, np.int64),
    }
    with pytest.raises(errors.InvalidTensor, match="differ in their number of images"):
        check_inputs(inputs, [IMAGES, AGE])


def test_no_images_are_zero_images() -> None:
    assert check_inputs({"input": np.zeros((0, 4, 4, 3), np.float32)}, [IMAGES]) == 0
