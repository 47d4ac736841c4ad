from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.graphs.freezing import freeze_session


@pytest.mark.parametrize("keep_devices", [True, False])
def test_variables_become_constants_and_pins_are_kept_or_cleared(keep_devices: bool) -> None:  # noqa: FBT001
    soft = tf.ConfigProto(allow_soft_placement=True)
    with tf.Graph().as_default(), tf.Session(config=soft) as session, tf.device("/gpu:0"):
        images = tf.placeholder(tf.float32, [None, 2], name="input")
        weights = tf.get_variable("weights", [2, 2], use_resource=False)
        tf.matmul(images, weights, name="probs")
        tf.get_variable("unused", [9], use_resource=False)
        session.run(weights.initializer, {weights.initializer.inputs[1]: np.eye(2)})
        frozen = freeze_session(session, ["probs:0"], keep_devices=keep_devices)
    kinds = {node.op for node in frozen.node}
    assert not kinds & {"VariableV2", "Assign", "RestoreV2", "SaveV2"}
    assert "unused" not in {node.name for node in frozen.node}
    assert any(node.device for node in frozen.node) is keep_devices
    with tf.Graph().as_default(), tf.Session(config=soft) as session:
        tf.import_graph_def(frozen, name="")
        np.testing.assert_array_equal(session.run("probs:0", {"input:0": [[1, 2]]}), [[1, 2]])
