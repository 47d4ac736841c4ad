"""Variables become constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf


def freeze_session(session: Any, outputs: Sequence[str], *, keep_devices: bool) -> Any:
    """Returns the GraphDef of a session with its variables' values as constants.

    Args:
        session: holds the graph and the values.
        outputs: names of the output tensors (`probs:0`); only what they need is kept.
        keep_devices: whether nodes keep their device pins.
    """
    nodes = [name.partition(":")[0] for name in outputs]
    frozen = tf.graph_util.convert_variables_to_constants(
        session, session.graph.as_graph_def(), nodes
    )
    if not keep_devices:
        for node in frozen.node:
            node.device = ""
    return frozen
