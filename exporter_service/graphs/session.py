"""How a conversion's sessions run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

from service_kit.frozen_graph.channels import has_channels_first

# As TensorFlow marks the node that failed: `[[{{node Reshape}}]]`.
_NODE = re.compile(r"\[\[\{\{node ([^}]+)\}\}\]\]")

# All but the one that turns layers round.
_OTHER_OPTIMIZERS = (
    "arithmetic_optimization", "common_subgraph_elimination", "constant_folding", "debug_stripper",
    "dependency_optimization", "function_optimization", "implementation_selector",
    "loop_optimization", "pin_to_host_optimization", "remapping", "scoped_allocator_optimization",
    "shape_optimization",
)  # fmt: skip


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


def session_config(*, as_written: Any = None) -> Any:
    """Returns the configuration of a conversion's sessions.

    They leave the cards to the services that serve; pins in the graph are soft. Layers with the
    channels first, which not every processor has kernels for, are turned round.

    Args:
        as_written: a graph to run without TensorFlow's optimizers: what it says is then the
            reference for the optimized graph that is served, and is there sooner.
    """
    config = tf.ConfigProto(allow_soft_placement=True, device_count={"GPU": 0})
    rewriting = config.graph_options.rewrite_options
    rewriting.cpu_layout_conversion = RewriterConfig.NCHW_TO_NHWC
    if as_written is None:
        return config
    config.graph_options.optimizer_options.opt_level = tf.OptimizerOptions.L0
    if not has_channels_first(as_written):
        rewriting.disable_meta_optimizer = True
        return config
    for optimizer in _OTHER_OPTIMIZERS:
        setattr(rewriting, optimizer, RewriterConfig.OFF)
    rewriting.memory_optimization = RewriterConfig.NO_MEM_OPT
    rewriting.disable_model_pruning = True
    # TensorFlow leaves very small graphs alone otherwise.
    rewriting.min_graph_nodes = -1
    return config


def restore(session: Any, values: Mapping[str, Any]) -> None:
    """Gives every variable its value, without adding an op to the graph."""
    with session.graph.as_default():
        variables = tf.global_variables()
    # An initializer assigns its second input; feeding that assigns the value instead.
    session.run(
        [variable.initializer for variable in variables],
        {variable.initializer.inputs[1]: values[variable.op.name] for variable in variables},
    )
