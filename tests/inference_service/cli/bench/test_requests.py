from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_service.cli.bench import requests
from inference_service.cli.bench.requests import image_requests, random_requests
from inference_service.cli.inputs.named_images import NamedImages, named_images
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec


def spec(*shape: int, dtype: str = "float32") -> TensorSpec:
    return TensorSpec("pixels", "input:0", dtype, (-1, *shape))


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int8", "int64", "bool"])
def test_random_images_have_the_model_s_shape_and_dtype(dtype: str) -> None:
    made: Any = random_requests(spec(4, 5, 3, dtype=dtype), 7, None)
    assert len(made) == 64
    assert {one["pixels"].shape for one in made} == {(7, 4, 5, 3)}
    assert {one["pixels"].dtype.name for one in made} == {dtype}
    assert not np.array_equal(made[0]["pixels"], made[1]["pixels"])
    assert float(made[0]["pixels"].max()) <= 255


def test_open_sizes_come_from_the_caller() -> None:
    made: Any = random_requests(spec(-1, -1, -1), 1, (6, 8))
    assert made[0]["pixels"].shape == (1, 6, 8, 3)
    made = random_requests(spec(-1, 9, 1), 1, (6, 8))
    assert made[0]["pixels"].shape == (1, 6, 9, 1)
    with pytest.raises(errors.InvalidRequest, match="say which with --size"):
        random_requests(spec(-1, -1, 3), 1, None)
    with pytest.raises(errors.InvalidRequest, match="give images with --npz"):
        random_requests(spec(-1), 1, (6, 8))


def test_large_random_images_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_MAX_BYTES", 4 * 3 * 10)
    assert len(random_requests(spec(3), 2, None)) == 5
    assert len(random_requests(spec(300), 2, None)) == 1


def test_images_are_taken_in_turn_and_again_from_the_start(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", images=np.arange(5).reshape(5, 1))
    named = named_images([], tmp_path / "images.npz", "images")
    made: Any = image_requests(named, "pixels", 2)
    values = [one["pixels"].ravel().tolist() for one in made]
    assert values == [[0, 1], [2, 3], [4, 0], [1, 2], [3, 4]]


def test_files_are_read_as_far_as_memory_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_MAX_BYTES", 250)
    named = NamedImages(["a", "b", "c", "d"], lambda index: [bytes([index]) * 100])
    made: Any = image_requests(named, "pixels", 3)
    assert [[content[0] for content in one["pixels"]] for one in made] == [[0, 1, 0], [1, 0, 1]]


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    named = named_images([tmp_path / "none.png"], None, "")
    with pytest.raises(errors.InvalidRequest, match=r"none.png: cannot be read"):
        image_requests(named, "pixels", 1)


def test_no_images_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", images=np.zeros((0, 2)))
    with pytest.raises(errors.InvalidRequest, match="there are no images"):
        image_requests(named_images([], tmp_path / "images.npz", "images"), "pixels", 1)
