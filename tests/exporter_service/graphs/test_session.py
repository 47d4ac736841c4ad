from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.graphs.session import session_config

KERNEL = np.random.default_rng(5).normal(size=(3, 3, 3, 4)).astype(np.float32)
IMAGES = np.random.default_rng(6).normal(size=(2, 8, 8, 3)).astype(np.float32)


def layers(x: Any, layout: str) -> Any:
    sizes = [1, 1, 2, 2] if layout == "NCHW" else [1, 2, 2, 1]
    x = tf.nn.conv2d(x, tf.constant(KERNEL), sizes, "SAME", data_format=layout)
    x = tf.nn.bias_add(x, tf.constant([1.0, 2.0, 3.0, 4.0]), data_format=layout)
    x, *_ = tf.nn.fused_batch_norm(
        x, tf.ones(4), tf.zeros(4), tf.zeros(4), tf.ones(4), is_training=False, data_format=layout
    )
    return tf.nn.max_pool(x, sizes, sizes, "SAME", data_format=layout)


def answer(layout: str, *, as_written: bool) -> Any:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8, 8, 3])
        turned = tf.transpose(x, [0, 3, 1, 2]) if layout == "NCHW" else x
        y = layers(turned, layout)
        y = tf.transpose(y, [0, 2, 3, 1]) if layout == "NCHW" else y
        config = session_config(as_written=graph) if as_written else session_config()
        with tf.Session(config=config) as session:
            return session.run(y, {x: IMAGES})


@pytest.mark.parametrize("as_written", [True, False], ids=["as written", "optimized"])
def test_channels_first_run_on_every_processor(*, as_written: bool) -> None:
    found, wanted = (answer(layout, as_written=as_written) for layout in ("NCHW", "NHWC"))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
