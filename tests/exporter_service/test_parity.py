from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service import parity
from exporter_service.conversion import session_config
from service_kit import errors
from service_kit.manifest import Tower
from tests.support.manifests import tower


def graph(biases: list[float]) -> tuple[Any, tuple[Tower, ...]]:
    """A two-card graph whose cards differ by their bias."""
    towers = tuple(tower(index, cards=len(biases), size=4) for index in range(len(biases)))
    with tf.Graph().as_default() as built:
        for one, bias in zip(towers, biases, strict=True):
            with tf.name_scope(one.scope):
                images = tf.placeholder(tf.float32, [None, 4, 4, 3], name="input")
                tf.add(tf.reduce_mean(images, [1, 2]) / 255, bias, name="probs")
    return built.as_graph_def(), towers


def checked(biases: list[float], shift: float = 0.0) -> Any:
    graph_def, towers = graph(biases)
    images = parity.probes(towers)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        expected = parity.answers(session, towers, images)
    shifted = {probe: [o + np.float32(shift) for o in outs] for probe, outs in expected.items()}
    return parity.check_frozen(graph_def, towers, images, shifted, session_config())


def test_equal_numbers_pass_and_everything_is_listed() -> None:
    report = checked([0.0, 0.0])
    assert report.passed
    assert report.worst == 0
    assert {(c.subject, c.probe) for c in report.comparisons} == {
        (subject, probe)
        for subject in ("Card_0 with session", "Card_1 with session", "Card_1 with Card_0")
        for probe in ("ones", "noise")
    }


def test_a_difference_to_the_session_is_refused_with_its_size() -> None:
    with pytest.raises(errors.ParityFailed, match=r"Card_\d with session on .* by 0\.00[12]"):
        checked([0.0, 0.0], shift=0.0015)


def test_a_card_that_differs_from_card_0_is_refused() -> None:
    with pytest.raises(errors.ParityFailed, match="Card_1 with Card_0"):
        checked([0.0, 0.1])


def test_what_is_not_a_number_is_refused() -> None:
    with pytest.raises(errors.ParityFailed, match="nan"):
        checked([float("nan")])


def test_differences_are_absolute_and_relative() -> None:
    comparison = parity.compared(
        "a", "b", np.array([1.0, 2.2], np.float32), np.array([1.0, 2.0], np.float32)
    )
    assert comparison.max_absolute_difference == pytest.approx(0.2, rel=1e-5)
    assert comparison.max_relative_difference == pytest.approx(0.1, rel=1e-5)


def test_the_probes_are_an_image_of_ones_and_always_the_same_noise() -> None:
    _, towers = graph([0.0])
    first, second = parity.probes(towers), parity.probes(towers)
    assert first["ones"].shape == (1, 4, 4, 3)
    assert (first["ones"] == 1).all()
    np.testing.assert_array_equal(first["noise"], second["noise"])
    assert 0 <= first["noise"].min() < first["noise"].max() <= 255
