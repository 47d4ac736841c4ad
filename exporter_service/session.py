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


def session_config() -> Any:
    """Returns the configuration of a conversion's sessions.

    They leave the cards to the services that serve; pins in the graph are soft.
    """
    return tf.ConfigProto(allow_soft_placement=True, device_count={"GPU": 0})
