from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inference_service.client.image_inputs import by_name, needs_files, tensor_or_files
from service_kit import errors


def encoded(kind: str, value: int = 9) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (6, 4), (value, 0, 0)).save(content, kind)
    return content.getvalue()


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(encoded("PNG"))
    return path


def test_arrays_are_passed_on_uncopied() -> None:
    array = np.zeros((2, 4, 6, 3), np.uint8)
    assert tensor_or_files("input", array) is array
    pixels = tensor_or_files("input", [np.zeros((4, 6, 3), np.uint8)] * 2)
    assert isinstance(pixels, np.ndarray)
    assert pixels.shape == (2, 4, 6, 3)
    numbers: Any = [[1.0, 2.0]]
    assert isinstance(tensor_or_files("input", numbers), np.ndarray)


def test_paths_and_contents_may_be_mixed(tmp_path: Path, png: Path) -> None:
    jpeg = tmp_path / "photograph"
    jpeg.write_bytes(encoded("JPEG"))
    content = png.read_bytes()
    images: list[Any] = [png, str(png), content, bytearray(content), memoryview(content), jpeg]
    assert tensor_or_files("input", images) == [content] * 5 + [jpeg.read_bytes()]


@pytest.mark.parametrize("kind", [str, Path, Path.read_bytes, Image.open])
def test_one_image_is_a_group_of_one(png: Path, kind: Any) -> None:
    found = tensor_or_files("input", kind(png))
    assert len(found) == 1


def test_no_images_are_an_empty_group_of_files() -> None:
    assert tensor_or_files("input", []) == []
    assert tensor_or_files("input", ()) == []


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_images_of_pillow_become_rgb(mode: str) -> None:
    images = [Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode)] * 2
    pixels = tensor_or_files("input", images)
    assert isinstance(pixels, np.ndarray)
    assert pixels.shape == (2, 4, 6, 3)
    assert pixels.dtype == np.uint8
    assert pixels.min() == 255


def test_an_image_of_pillow_becomes_what_the_server_makes_of_its_file(png: Path) -> None:
    from inference_service.images.decoding import Fit
    from service_kit.artifacts.manifest import TensorSpec
    from tests.support.pictures import decode_images

    Image.fromarray(np.arange(72, dtype=np.uint8).reshape(4, 6, 3)).save(png)
    spec = TensorSpec("input", "input:0", "float32", (-1, 4, 6, 3))
    with Image.open(png) as image:
        np.testing.assert_array_equal(
            tensor_or_files("input", image), decode_images([png.read_bytes()], spec, Fit.EXACT)
        )


def test_images_of_pillow_have_one_size_and_eight_bits() -> None:
    small, large = Image.new("RGB", (2, 3)), Image.new("RGB", (5, 3))
    with pytest.raises(errors.InvalidTensor, match="image 1 of input 'input' has 5x3 pixels"):
        tensor_or_files("input", [small, large])
    with pytest.raises(errors.InvalidTensor, match="has mode I;16"):
        tensor_or_files("input", Image.new("I;16", (2, 3)))


def test_an_image_of_pillow_that_cannot_be_read_is_told(png: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(png)
    png.write_bytes(png.read_bytes()[:500])
    with (
        Image.open(png) as cut,
        pytest.raises(errors.InvalidTensor, match="image 0 of input 'input' does not decode"),
    ):
        tensor_or_files("input", cut)


def test_files_that_cannot_be_read_are_named(tmp_path: Path, png: Path) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"image 1 of .*no\.png cannot be read: No su"):
        tensor_or_files("input", [png, tmp_path / "no.png"])
    with pytest.raises(errors.InvalidRequest, match="is a directory: give the files in it"):
        tensor_or_files("input", tmp_path)
    text = tmp_path / "a.txt"
    text.write_text("hello")
    with pytest.raises(errors.InvalidRequest, match="neither JPEG nor PNG: it begins with b'hello"):
        tensor_or_files("input", text)
    (tmp_path / "empty.png").touch()
    with pytest.raises(errors.InvalidRequest, match="neither JPEG nor PNG"):
        tensor_or_files("input", tmp_path / "empty.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(errors.InvalidRequest, match="is no regular file"):
        tensor_or_files("input", tmp_path / "pipe.png")
    with pytest.raises(errors.InvalidRequest, match="no regular file"):
        tensor_or_files("input", "/dev/zero")
    with pytest.raises(errors.InvalidRequest, match="is no path"):
        tensor_or_files("input", "a\0b.png")
    with pytest.raises(errors.InvalidRequest, match="cannot be read: File name too long"):
        tensor_or_files("input", "x" * 5000)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (None, "is a NoneType that becomes an array of object"),
        ({1, 2}, "is a set that becomes"),
        (np.array([b"a", b"b"], object), "is a ndarray that becomes an array of object"),
        (np.array(["a", "b"]), "becomes an array of <U1"),
        ((n for n in range(3)), "is a generator that becomes"),
        ([[1, 2], [3]], "is no array"),
        ([b"a", None], "image 1 of input 'input' is a NoneType"),
        ([b"a", np.zeros((2, 2, 3))], "image 1 of input 'input' is a ndarray"),
        ([b"a", Image.new("RGB", (2, 2))], "either files .* or Pillow images"),
    ],
)
def test_other_things_are_told_what_is_taken(images: Any, words: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=words):
        tensor_or_files("input", images)


def test_inputs_have_names() -> None:
    array = np.zeros((1, 2, 2, 3))
    assert list(by_name(array, "input")) == ["input"]
    assert list(by_name({"left": array, "right": array}, "input")) == ["left", "right"]
    with pytest.raises(errors.InvalidRequest, match="names of inputs are texts"):
        by_name({1: array}, "input")  # type: ignore[dict-item]


def test_what_takes_time_is_known_beforehand(png: Path) -> None:
    assert needs_files(png)
    mixed: Any = [b"a", str(png)]
    assert needs_files({"left": np.zeros(1), "right": mixed})
    assert needs_files(Image.new("RGB", (2, 2)))
    assert not needs_files([b"a", b"b"])
    assert not needs_files(np.zeros((2, 2)))


def test_pillow_is_not_loaded_by_asking_for_it() -> None:
    code = (
        "import sys, numpy; from inference_service.client.image_inputs import tensor_or_files; "
        "tensor_or_files('input', numpy.zeros(3)); tensor_or_files('input', [b'a']); "
        "sys.exit('PIL' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
