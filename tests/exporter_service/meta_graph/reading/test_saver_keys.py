from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.meta_graph.reading.node_graph import NodeGraph
from exporter_service.meta_graph.reading.saver_keys import SavedAs, saver_keys


@pytest.mark.parametrize("version", [tf.train.SaverDef.V1, tf.train.SaverDef.V2])
@pytest.mark.parametrize("sharded", [False, True])
def test_only_the_savers_own_nodes_count(version: int, sharded: bool) -> None:  # noqa: FBT001
    with tf.Graph().as_default() as graph:
        one = tf.get_variable("one", [2], use_resource=False)
        two = tf.get_variable("two", [3], use_resource=True)
        tf.train.Saver({"average/one": one, "average/two": two})
        saver = tf.train.Saver(
            {"kept/one": one, "kept/two": two}, sharded=sharded, write_version=version
        )
        definition = saver.as_saver_def()
        found = saver_keys(NodeGraph(graph.as_graph_def()), definition.save_tensor_name)
    assert found == {"one": SavedAs("kept/one"), "two": SavedAs("kept/two")}


def test_a_graph_without_a_saver_has_no_keys() -> None:
    with tf.Graph().as_default() as graph:
        tf.get_variable("one", [2], use_resource=False)
        assert saver_keys(NodeGraph(graph.as_graph_def()), "") == {}


def test_a_part_is_cut_out() -> None:
    whole = np.arange(12).reshape(4, 3)
    np.testing.assert_array_equal(SavedAs("k", "1,2:-").of(whole), whole[1:3])
    np.testing.assert_array_equal(SavedAs("k").of(whole), whole)
    with pytest.raises(ValueError, match="lies outside"):
        SavedAs("k", "3,2:-").of(whole)
