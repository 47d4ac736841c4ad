from __future__ import annotations

from typing import Any

import pytest

from exporter_service.architectures.plugin import Plugin
from service_kit.artifacts.manifest import Preprocessing


def net(images: Any) -> Any: ...


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"build": 3}, "build is 3"),
        ({"parameters": dict}, "parameters is <class 'dict'>"),
        ({"image_size": (32,)}, r"image_size is \(32,\)"),
        ({"image_size": (0, 32)}, r"image_size is \(0, 32\)"),
        ({"preprocessing": Preprocessing(mean=(1.0,))}, "preprocessing.mean: give 3"),
        ({"output_name": "a b"}, "output_name is 'a b'"),
        ({"output_name": "input"}, "output_name is 'input'"),
    ],
)
def test_values_that_no_conversion_could_use_are_refused(
    attributes: dict[str, Any], problem: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=problem):
        Plugin(**{"build": net, **attributes})
