from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from exporter_service.specs.probes import check_probe, shaped_as, standard_probes
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec


def spec(dtype: str = "float32", shape: tuple[int, ...] = (-1, 4, 4, 3), name: str = "x") -> Any:
    return TensorSpec(name, f"{name}:0", dtype, shape)


def test_the_probes_are_one_of_ones_and_always_the_same_noise() -> None:
    first, second = (standard_probes([spec()], pixels=True) for _ in range(2))
    assert list(first) == ["ones", "noise"]
    assert first["ones"]["x"].shape == (1, 4, 4, 3)
    assert (first["ones"]["x"] == 1).all()
    np.testing.assert_array_equal(first["noise"]["x"], second["noise"]["x"])
    assert 1 < first["noise"]["x"].max() <= 255
    assert len(first["noise"]["x"]) == 2


def test_an_unknown_range_is_probed_with_small_noise_as_well() -> None:
    probes = standard_probes([spec("float64")], pixels=False)
    assert 0 <= probes["small noise"]["x"].min() < probes["small noise"]["x"].max() <= 1
    assert probes["small noise"]["x"].dtype == np.float64


@pytest.mark.parametrize(
    ("dtype", "highest"), [("uint8", 255), ("int32", 1), ("int64", 1), ("bool", 1)]
)
def test_noise_is_in_the_range_of_its_type(dtype: str, highest: int) -> None:
    noise = standard_probes([spec(dtype)], pixels=False)["noise"]["x"]
    assert noise.dtype == np.dtype(dtype)
    assert highest // 2 < int(noise.max()) <= highest


def test_open_dimensions_get_a_size() -> None:
    probes = standard_probes([spec(shape=(-1, -1, -1, 3))], pixels=True, open_size=(20, 24))
    assert probes["noise"]["x"].shape == (2, 20, 24, 3)
    assert standard_probes([spec(shape=(-1, -1))], pixels=False)["ones"]["x"].shape == (1, 8)


def test_the_callers_probe_is_checked() -> None:
    image = np.zeros((2, 4, 4, 3), np.float32)
    assert list(check_probe({"": image}, [spec()])) == ["x"]
    for wrong, words in (
        ({"y": image}, "the graph takes x"),
        ({"x": image.astype(np.float64)}, "float64"),
        ({"x": image[0]}, r"\[4, 4, 3\]"),
        ({"x": image[:, :3]}, r"\[2, 3, 4, 3\]"),
        ({"x": image[:0]}, "at least one"),
    ):
        with pytest.raises(errors.InvalidRequest, match=words):
            check_probe(wrong, [spec()])
    both = [spec(), spec(name="z")]
    with pytest.raises(errors.InvalidRequest, match="different sizes"):
        check_probe({"x": image, "z": image[:1]}, both)


def test_a_callers_probe_decides_the_sizes_that_an_input_leaves_open() -> None:
    small, large = spec(shape=(-1, -1, -1, 3)), spec(shape=(-1, -1, -1, 1))
    inputs = (replace(small, name="small"), replace(large, name="large"))
    probe = {
        "small": np.zeros((2, 10, 12, 3), np.float32),
        "large": np.zeros((2, 20, 24, 1), np.float32),
    }
    shaped = shaped_as(probe, inputs)
    assert [one.probe_shape for one in shaped] == [(10, 12, 3), (20, 24, 1)]
    noise = standard_probes(shaped, pixels=True)["noise"]
    assert (noise["small"].shape, noise["large"].shape) == ((2, 10, 12, 3), (2, 20, 24, 1))
    fixed = (spec(shape=(-1, 4)),)
    assert shaped_as({"": np.zeros((1, 4))}, fixed) == fixed


def test_a_tower_for_one_image_is_probed_with_one() -> None:
    probes = standard_probes([spec()], pixels=True, max_batch=1)
    assert {len(batch) for probe in probes.values() for batch in probe.values()} == {1}
