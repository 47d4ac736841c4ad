from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from inference_service.prediction.top_classes import ranking_takes_long, scored_output, top_classes
from inference_service.wire.scored_class import ScoredClass
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec

SHAPES = npst.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=8)
FEW_VALUES = st.sampled_from([0.0, -0.0, 0.5, -1.0, 1.0, math.inf, -math.inf, math.nan])
SCORES = st.one_of(
    npst.arrays(st.sampled_from(["float16", "float32", "float64"]), SHAPES),
    npst.arrays(np.float32, SHAPES, elements=FEW_VALUES),
    npst.arrays(st.sampled_from(["bool", "int8", "uint8", "int64", "uint64"]), SHAPES),
)


def by_sorting(row: np.ndarray[Any, Any], count: int) -> list[int]:
    """The obvious way: as Python numbers, which compare exactly."""
    values = row.tolist()

    def key(index: int) -> tuple[bool, Any, int]:
        unordered = math.isnan(values[index])
        return (unordered, 0 if unordered else -values[index], index)

    return sorted(range(len(values)), key=key)[:count]


@given(SCORES, st.integers(0, 10))
def test_ranks_as_sorting_does(scores: np.ndarray[Any, Any], count: int) -> None:
    ranked = top_classes(scores, count, [])
    assert [[one.index for one in row] for row in ranked] == [
        by_sorting(row, count) for row in scores
    ]
    for row, best in zip(scores, ranked, strict=True):
        np.testing.assert_array_equal(
            [one.score for one in best], [float(row[one.index]) for one in best]
        )


def test_labels_go_with_their_classes() -> None:
    scores = np.array([[0.25, 0.5, 0.25], [0.0, 0.0, 1.0]], np.float32)
    assert top_classes(scores, 2, ["cat", "dog"]) == [
        [ScoredClass(1, 0.5, "dog"), ScoredClass(0, 0.25, "cat")],
        [ScoredClass(2, 1.0, ""), ScoredClass(0, 0.0, "cat")],
    ]


def test_nan_comes_after_every_number() -> None:
    scores = np.array([[math.nan, -math.inf, math.nan, 1.0]])
    assert [one.index for one in top_classes(scores, 4, [])[0]] == [3, 1, 0, 2]


def test_the_values_are_python_s_own() -> None:
    ((best,),) = top_classes(np.array([[0.1]], np.float16), 1, [])
    assert type(best.index) is int
    assert type(best.score) is float


def test_there_may_be_no_images_and_no_classes() -> None:
    assert top_classes(np.zeros((0, 5), np.float32), 3, []) == []
    assert top_classes(np.zeros((2, 0), np.float32), 3, []) == [[], []]
    assert top_classes(np.zeros((2, 5), np.float32), 0, []) == [[], []]


@pytest.mark.parametrize(
    ("images", "classes", "count", "long"),
    [
        (1, 1000, 5, False),
        (10, 1000, 5, False),
        (11, 1000, 5, True),
        (100, 10, 1000, False),
        (101, 10, 1000, True),
        (101, 10, 9, False),
        (0, 1000, 1000, False),
    ],
)
def test_what_takes_long_is_many_scores_to_sort_or_many_classes_to_name(
    images: int, classes: int, count: int, *, long: bool
) -> None:
    assert ranking_takes_long(images, classes, count) == long


def spec(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, f"{name}:0", "float32", shape)


PROBS, LOGITS = spec("probs", -1, 10), spec("logits", -1, 10)
MAP = spec("map", -1, 8, 8, 2)


@pytest.mark.parametrize(
    ("outputs", "name"),
    [
        ([PROBS], "probs"),
        ([LOGITS, PROBS], "probs"),
        ([LOGITS], "logits"),
        ([MAP, LOGITS], "logits"),
        ([spec("scores", -1, -1)], "scores"),
    ],
)
def test_ranks_probs_or_else_the_only_output_with_classes(
    outputs: list[TensorSpec], name: str
) -> None:
    assert scored_output(outputs) == name


@pytest.mark.parametrize(
    "outputs",
    [
        [LOGITS, spec("embedding", -1, 64)],
        [MAP],
        [spec("age", -1)],
        # Another output in the place of `probs` would be taken for it.
        [LOGITS, spec("probs", -1, 8, 8, 10)],
    ],
)
def test_names_the_outputs_where_none_or_several_could_be_meant(outputs: list[TensorSpec]) -> None:
    with pytest.raises(errors.InvalidRequest, match="ask for the outputs themselves") as caught:
        scored_output(outputs)
    assert all(f"{one.name} {list(one.shape)}" in str(caught.value) for one in outputs)
