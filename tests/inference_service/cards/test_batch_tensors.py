from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.cards.batch_tensors import (
    check_outputs,
    join_tensors,
    kind,
    non_finite_images,
    part,
    size_in_bytes,
    stack_tensors,
)
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec
from tests.support.engines import pixels

SPECS = (TensorSpec("input", "input:0", "float32", (-1, 2, 2, 3)),)


def test_inputs_of_one_kind_differ_in_the_number_of_images_alone() -> None:
    one = {"input": pixels(1), "mask": pixels(1)}
    assert kind(one) == kind({"mask": pixels(1, 2), "input": pixels(3, 4)})
    others = [
        {"input": pixels(1)},
        {**one, "mask": pixels(1, dtype="uint8")},
        {**one, "mask": np.ones((1, 3, 2, 3), np.float32)},
    ]
    assert all(kind(other) != kind(one) for other in others)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 7))
def test_what_is_stacked_comes_apart_again(counts: list[int], padding: int) -> None:
    values = iter(range(100))
    parts = [{"input": pixels(*(next(values) for _ in range(n)))} for n in counts]
    images = sum(counts)
    batch = stack_tensors(parts, SPECS, images + padding)
    assert batch["input"].shape == (images + padding, 2, 2, 3)
    ends = np.cumsum(counts)
    pieces = [part(batch, end - n, end) for n, end in zip(counts, ends, strict=True)]
    for piece, original in zip(pieces, parts, strict=True):
        np.testing.assert_array_equal(piece["input"], original["input"])
    np.testing.assert_array_equal(
        join_tensors(pieces)["input"], np.concatenate([one["input"] for one in parts])
    )
    # No value that no image has.
    assert (batch["input"][images:] == batch["input"][images - 1]).all()


def test_a_lone_part_is_not_copied() -> None:
    images = pixels(1, 2)
    assert stack_tensors([{"input": images}], SPECS, 2)["input"] is images
    assert join_tensors([{"input": images}])["input"] is images


@pytest.mark.parametrize("count", [1, 2])
def test_narrower_dtypes_are_cast(count: int) -> None:
    parts = [{"input": pixels(200, dtype="uint8")}] * count
    batch = stack_tensors(parts, SPECS, count)["input"]
    assert batch.dtype == np.float32
    assert (batch == 200).all()


def test_dtypes_may_differ_within_a_batch_of_several_inputs() -> None:
    specs = (*SPECS, TensorSpec("weight", "weight:0", "float64", (-1,)))
    parts = [{"input": pixels(n), "weight": np.array([n], np.float32)} for n in (1, 2)]
    assert stack_tensors(parts, specs, 2)["weight"].tolist() == [1, 2]
    assert size_in_bytes(parts[0]) == 48 + 4


@pytest.mark.parametrize("output", [np.zeros(3), np.float32(1), np.zeros((2, 2)), np.zeros((0, 4))])
def test_outputs_have_an_entry_an_image(output: np.ndarray) -> None:
    with pytest.raises(errors.EngineFailed, match="the graph does not keep images apart"):
        check_outputs({"probs": output}, 1)
    check_outputs({"probs": np.zeros((1, 9))}, 1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
def test_images_with_a_nan_or_an_infinity_are_counted(dtype: str) -> None:
    images = np.zeros((6, 2, 2), dtype)
    images[1, 0, 1] = np.nan
    images[3, 1, 1] = np.inf
    images[4, 0, 0], images[4, 0, 1] = np.inf, -np.inf
    # Finite, though its sum is not.
    images[5] = np.finfo(dtype).max
    assert non_finite_images({"a": images}, 6) == 3
    assert non_finite_images({"a": images}, 2) == 1


def test_an_image_counts_once_whatever_its_inputs() -> None:
    bad = np.array([[np.nan], [0.0]])
    assert non_finite_images({"a": bad, "b": bad, "c": np.array([[1], [2]])}, 2) == 1
    assert non_finite_images({"a": np.zeros((2, 0))}, 2) == 0
    assert non_finite_images({"a": np.zeros((0, 3))}, 0) == 0


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_sum_that_overflows_does_not_hide_what_another_input_has(order: str) -> None:
    inputs = {"a": np.array([[np.nan]]), "b": np.full((1, 4), np.finfo("float64").max)}
    assert non_finite_images({name: inputs[name] for name in order}, 1) == 1


@given(
    st.lists(
        st.lists(st.floats(width=32), min_size=3, max_size=3).map(tuple), min_size=1, max_size=9
    ),
    st.integers(0, 9),
)
def test_the_count_is_that_of_looking_at_every_value(
    rows: list[tuple[float, ...]], padding: int
) -> None:
    padded = np.array([*rows, *[(np.nan,) * 3] * padding], np.float32)
    expected = sum(not all(map(np.isfinite, row)) for row in rows)
    assert non_finite_images({"a": padded}, len(rows)) == expected


def test_a_lone_part_is_padded_and_cast_and_stays_as_it_was() -> None:
    images = pixels(7, 200, dtype="uint8")
    batch = stack_tensors([{"input": images}], SPECS, 4)["input"]
    assert batch.dtype == np.float32
    assert batch[:, 0, 0, 0].tolist() == [7, 200, 200, 200]
    batch[:] = 0
    np.testing.assert_array_equal(images, pixels(7, 200, dtype="uint8"))
