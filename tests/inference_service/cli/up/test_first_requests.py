from __future__ import annotations

import ast

import pytest

from inference_service.cli.up.first_requests import (
    Served,
    first_requests,
    predict_line,
    snippet,
)
from service_kit.artifacts.manifest import TensorSpec

IMAGES = TensorSpec("input", "input:0", "float32", (-1, 32, 48, 3))
ANY_SIZE = TensorSpec("input", "input:0", "uint8", (-1, -1, -1, 1))
NUMBERS = TensorSpec("x", "x:0", "int64", (-1, 13))
PROBS = TensorSpec("probs", "probs:0", "float32", (-1, 10))


def served(*inputs: TensorSpec, address: str = "127.0.0.1:8500", page: str = "") -> Served:
    return Served("digits", 3, inputs, [PROBS], address, page, "127.0.0.1:8600")


@pytest.mark.parametrize(
    ("inputs", "line"),
    [
        ((IMAGES,), "pbserve predict digits photo.jpg --fit stretch"),
        ((NUMBERS,), "pbserve predict digits --npz inputs.npz --key x"),
        ((NUMBERS, IMAGES), "pbserve show digits"),
    ],
)
def test_the_command_is_one_for_the_models_input(inputs: tuple[TensorSpec, ...], line: str) -> None:
    assert predict_line(served(*inputs)) == line


def test_another_address_is_in_the_command() -> None:
    assert predict_line(served(IMAGES, address="127.0.0.1:1")).endswith(" --address 127.0.0.1:1")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((IMAGES,), 'inputs = np.zeros([1, 32, 48, 3], "float32")'),
        ((ANY_SIZE,), 'inputs = np.zeros([1, 224, 224, 1], "uint8")'),
        ((NUMBERS, IMAGES), '"x": np.zeros([1, 13], "int64"),'),
    ],
)
def test_the_program_has_the_models_names_and_shapes(
    inputs: tuple[TensorSpec, ...], words: str
) -> None:
    text = "\n".join(snippet(served(*inputs)))
    ast.parse(text)
    assert words in text
    assert '.outputs["probs"]' in text


def test_the_page_is_named_where_there_is_one() -> None:
    assert not any(line.startswith("page") for line in first_requests(served(IMAGES)))
    lines = first_requests(served(IMAGES, page="http://127.0.0.1:9500/"))
    assert "page      http://127.0.0.1:9500/" in lines
