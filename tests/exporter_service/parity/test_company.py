"""What a batch has to do with its elements' answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.parity.company import compare_alone
from exporter_service.parity.comparison import answers
from exporter_service.parity.proof_file import Proof
from exporter_service.specs.probes import standard_probes
from service_kit.artifacts.manifest import ParityComparison, ParityReport, TensorSpec, Tower
from tests.support.manifests import conversion

WIDE = 784
TOLERANCE = 1e-5


def compare(build: Callable[[Any], Any], width: int = 6) -> list[ParityComparison]:
    tower = Tower(
        0, "", "", (TensorSpec("x", "x:0", "float32", (-1, width)),),
        (TensorSpec("y", "y:0", "float32", (-1, width)),),
    )  # fmt: skip
    described = replace(conversion(), towers=(tower,), parity=ParityReport((), TOLERANCE))
    probes = standard_probes(tower.inputs, pixels=False)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.identity(build(tf.placeholder(tf.float32, [None, width], name="x")), name="y")
        found = answers(session, described.towers, probes["noise"])
        return compare_alone(session, described, Proof(probes, {}), "noise", found)


def generator(x: Any) -> Any:
    """Sums of large terms that cancel, as in a trained generator: products of a matrix and of rows.

    The exact numbers differ by processor; that other rows do not matter does not.
    """
    random = np.random.default_rng(0)

    def weights(*shape: int, scale: float) -> Any:
        return tf.constant(random.normal(size=shape) * scale, tf.float32)

    hidden = tf.nn.relu(tf.matmul(x, weights(WIDE, 128, scale=0.6)))
    return tf.tanh(tf.matmul(hidden, weights(128, WIDE, scale=1.5)))


def rounded_otherwise(x: Any) -> Any:
    """Differs between one row and several as rounding does, on every processor."""
    alone = tf.cast(tf.equal(tf.shape(x)[0], 1), tf.float32)
    return x * (1 + 5e-5 * alone)


def test_a_batch_that_equals_its_elements_needs_no_other_company() -> None:
    found = compare(lambda x: x * 2)
    assert [one.subject for one in found] == ["frozen graph in a batch with alone"]
    assert found[0].allowed_difference < 600 * TOLERANCE


@pytest.mark.parametrize(("build", "width"), [(generator, WIDE), (rounded_otherwise, 6)])
def test_rounding_is_not_taken_for_company(build: Callable[[Any], Any], width: int) -> None:
    assert all(one.passed for one in compare(build, width))


def test_rounding_is_told_apart_by_company_of_the_same_number() -> None:
    found = compare(rounded_otherwise)
    assert found[-1].max_absolute_difference > 200 * TOLERANCE
    assert {one.max_absolute_difference for one in found[:-1]} == {0.0}


@pytest.mark.parametrize(
    "build",
    [
        lambda x: x - tf.reduce_mean(x, 0),
        lambda x: x / tf.reduce_max(x),
        # Copies of itself, and zeros beside it, change nothing each on their own.
        lambda x: x * tf.cast(tf.reduce_all(tf.equal(x, x[:1])), tf.float32),
        lambda x: x + 1e-4 * tf.reduce_mean(x, 0),
    ],
)
def test_what_the_others_change_is_refused(build: Callable[[Any], Any]) -> None:
    found = compare(build)
    assert not all(one.passed for one in found if one.subject.endswith("company"))
    assert not all(one.passed for one in found if one.subject.endswith("alone"))


def test_what_the_number_of_elements_changes_is_refused() -> None:
    found = compare(lambda x: x / tf.cast(tf.shape(x)[0], tf.float32))
    assert all(one.passed for one in found if one.subject.endswith("company"))
    assert not found[-1].passed
