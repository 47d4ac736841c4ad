from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from exporter_service.parity.comparison import answers
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
