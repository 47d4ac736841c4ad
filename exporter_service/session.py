"""How a conversion's sessions run."""

from __future__ import annotations

import re
from typing import Any

import tensorflow.compat.v1 as tf

# As TensorFlow marks the node that failed: `[[{{node Reshape}}]]`.
_NODE = re.compile(r"\[\[\{\{node ([^}]+)\}\}\]\]")

_NOISE = ("  ", "Detected at", "Graph execution", "Node:", "\t")


def reason(error: Exception) -> str:
    """Returns in one line what a session says of a call that failed, and of which node."""
    message = str(getattr(error, "message", None) or error)
    nodes = list(dict.fromkeys(_NODE.findall(message)))
    lines = [
        line.strip()
        for line in message.splitlines()
        # What Python called is ours, and of no use to whoever wrote the graph.
        if line.strip()
        and not line.startswith(("  ", "Detected at", "Graph execution", "Node:", "\t"))
    ]
    words = next((line for line in lines if not _NODE.fullmatch(line)), repr(error))
    return f"{words} (node {', '.join(nodes[:3])})" if nodes else words


def session_config(*, as_written: bool = False) -> Any:
    """Returns the configuration of a conversion's sessions.

    They leave the cards to the services that serve; pins in the graph are soft.

    Args:
        as_written: run the graph without TensorFlow's optimizers: what it says is then the
            reference for the optimized graph that is served, and is there sooner.
    """
    config = tf.ConfigProto(allow_soft_placement=True, device_count={"GPU": 0})
    if as_written:
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        config.graph_options.optimizer_options.opt_level = tf.OptimizerOptions.L0
    return config
