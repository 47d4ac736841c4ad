from __future__ import annotations

import pytest

from inference_service.engine import Precision
from inference_service.engine.choice_rule import candidates

BOTH = ["openvino", "tensorflow", "mine"]


@pytest.mark.parametrize(
    ("asked", "installed", "on_gpus", "precision", "names"),
    [
        ("auto", BOTH, False, Precision.F32, ["openvino", "tensorflow"]),
        ("auto", ["tensorflow"], False, Precision.F32, ["tensorflow"]),
        ("auto", ["openvino"], False, Precision.F32, ["openvino"]),
        ("auto", ["mine"], False, Precision.F32, []),
        ("auto", BOTH, True, Precision.F32, ["tensorflow"]),
        ("auto", ["openvino"], True, Precision.F32, []),
        # Nobody who asks for it gets something else in silence.
        ("auto", BOTH, False, Precision.BF16, ["openvino"]),
        ("tensorflow", BOTH, False, Precision.F32, ["tensorflow"]),
        ("openvino", BOTH, True, Precision.F32, ["openvino"]),
        ("mine", BOTH, False, Precision.F32, ["mine"]),
    ],
)
def test_the_engines_that_are_tried(
    asked: str,
    installed: list[str],
    on_gpus: bool,  # noqa: FBT001
    precision: Precision,
    names: list[str],
) -> None:
    found = candidates(asked, installed, on_gpus=on_gpus, precision=precision)
    assert [one.name for one in found] == names
    assert all(one.reason for one in found)
