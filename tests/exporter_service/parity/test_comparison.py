from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.parity.comparison import answers, compared
from tests.support.manifests import tower


def test_all_outputs_of_all_towers_are_fetched_by_their_semantic_names() -> None:
    towers = [tower(index, cards=2, size=4) for index in range(2)]
    with tf.Graph().as_default(), tf.Session() as session:
        for index in range(2):
            with tf.name_scope(f"Card_{index}"):
                images = tf.placeholder(tf.float32, [None, 4, 4, 3], name="input")
                images = tf.identity(images * 2, name="doubled") / 2
                tf.add(tf.reduce_mean(images, [1, 2]), float(index), name="probs")
        probe = {"input": np.ones((2, 4, 4, 3), np.float32)}
        found = answers(session, towers, probe)
        behind = answers(session, towers, probe, {0: "Card_0/doubled:0", 1: "Card_1/doubled:0"})
    np.testing.assert_array_equal(found[0]["probs"], np.ones((2, 3)))
    np.testing.assert_array_equal(found[1]["probs"], np.full((2, 3), 2))
    np.testing.assert_array_equal(behind[1]["probs"], np.full((2, 3), 1.5))


def one(*values: float) -> dict[str, Any]:
    return {"probs": np.array(values, np.float32)}


def test_differences_are_absolute_and_relative() -> None:
    comparison = compared("a", "b", one(1.0, 2.2), one(1.0, 2.0), 1e-5)
    assert comparison.max_absolute_difference == pytest.approx(0.2, rel=1e-5)
    assert comparison.max_relative_difference == pytest.approx(0.1, rel=1e-5)
    assert not comparison.passed


@pytest.mark.parametrize(
    ("found", "wanted", "passes"),
    [
        # Probabilities: the share is of 1.
        (one(0.500009), one(0.5), True),
        (one(0.500011), one(0.5), False),
        # Logits: the share is of the largest magnitude.
        (one(1000.009, 0.009), one(1000.0, 0.0), True),
        (one(1000.02), one(1000.0), False),
        (one(float("nan")), one(0.5), False),
        (one(0.5), one(float("nan")), False),
        (one(0.5), one(0.5, 0.5), False),
        ({}, one(0.5), False),
        (
            {"probs": one(0.5)["probs"], "other": np.array([3])},
            {"probs": one(0.5)["probs"], "other": np.array([4])},
            False,
        ),
    ],
)
def test_what_passes_is_a_share_of_the_references_magnitude(
    found: dict[str, Any],
    wanted: dict[str, Any],
    passes: bool,  # noqa: FBT001
) -> None:
    assert compared("a", "b", found, wanted, 1e-5).passed is passes
