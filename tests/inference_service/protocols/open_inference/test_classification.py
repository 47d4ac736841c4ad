from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from inference_service.protocols.open_inference.classification import class_texts
from service_kit import errors


def test_the_best_come_first_with_their_labels() -> None:
    scores = np.array([[1.0, 5.0, 10.0, 4.0]], np.float32)
    assert class_texts(scores, 2, ["a", "b", "c:d"]) == [[b"10.0:2:c:d", b"5.0:1:b"]]
    assert class_texts(scores, 2, []) == [[b"10.0:2", b"5.0:1"]]


def test_scores_read_back_as_the_same_number() -> None:
    scores = np.random.default_rng(0).random((3, 7)).astype(np.float32)
    for row, texts in zip(scores, class_texts(scores, 7, []), strict=True):
        for text in texts:
            score, index = text.decode().split(":")
            assert np.float32(score) == row[int(index)]


def test_more_than_there_are_is_all() -> None:
    assert class_texts(np.array([[1], [2]], np.int64), 9, ["x"]) == [[b"1:0:x"], [b"2:0:x"]]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (ml_dtypes.bfloat16, [b"1.0:1", b"0.0:0"]),
        (np.float16, [b"1.0:1", b"0.0:0"]),
        (np.bool_, [b"1:1", b"0:0"]),
        (np.uint8, [b"1:1", b"0:0"]),
    ],
)
def test_every_dtype_can_be_ranked(dtype: type, expected: list[bytes]) -> None:
    assert class_texts(np.array([[0, 1]]).astype(dtype), 2, []) == [expected]


def test_whatever_the_rank_all_of_an_image_are_its_classes() -> None:
    scores = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    assert class_texts(scores, 1, []) == [[b"3.0:3"], [b"7.0:3"]]


def test_no_images_have_no_classes() -> None:
    assert class_texts(np.zeros((0, 5), np.float32), 2, []) == []
    assert class_texts(np.zeros((2, 0), np.float32), 2, []) == [[], []]


@pytest.mark.parametrize("scores", [np.float32(3.0), np.array([3.0, 4.0], np.float32)])
def test_single_numbers_have_no_classes(scores: Any) -> None:
    with pytest.raises(errors.InvalidRequest, match="a single number an image has no classes"):
        class_texts(np.asarray(scores), 1, [])
