"""Frozen graphs with their towers, and what TensorFlow answers for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from exporter_service.formats.extra_format import Answers, Feeds
from service_kit.artifacts.manifest import TensorSpec, Tower
from tests.support.digits import GOLDEN

Tensors = Mapping[str, Any]
# Adds a tower to the default graph and returns its (inputs, outputs).
Build = Callable[[], tuple[Tensors, Tensors]]


@dataclass(frozen=True)
class Frozen:
    """A GraphDef without variables and the towers in it."""

    graph_def: Any
    towers: tuple[Tower, ...]

    def answers(self, feeds: Feeds) -> Answers:
        """Returns what TensorFlow itself answers, tower by tower."""
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(self.graph_def, name="")
        soft = tf.ConfigProto(allow_soft_placement=True, device_count={"GPU": 0})
        with tf.Session(graph=graph, config=soft) as session:
            return [
                session.run(
                    {spec.name: spec.tensor_name for spec in tower.outputs},
                    {spec.tensor_name: feeds[spec.name] for spec in tower.inputs},
                )
                for tower in self.towers
            ]


def frozen(build: Build) -> Frozen:
    """Returns a graph of one tower."""
    # Loops as graphs of TensorFlow 1 have them: Enter, Merge, Switch, NextIteration, Exit.
    enabled = tf.control_flow_v2_enabled()
    tf.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph:
            inputs, outputs = build()
    finally:
        if enabled:
            tf.enable_control_flow_v2()
    return Frozen(graph.as_graph_def(), (Tower(0, "", "", _specs(inputs), _specs(outputs)),))


def digits(cards: int) -> Frozen:
    """Returns the golden DenseNet, frozen by TensorFlow 1.15."""
    path = GOLDEN / ("multi.pb" if cards > 1 else "single.pb")
    graph_def = tf.GraphDef.FromString(path.read_bytes())
    towers = []
    for index in range(cards):
        scope = f"Card_{index}" if cards > 1 else ""
        prefix = f"{scope}/" if scope else ""
        images = TensorSpec("input", f"{prefix}input:0", "float32", (-1, 32, 32, 3))
        probs = TensorSpec("probs", f"{prefix}probs:0", "float32", (-1, 10))
        towers.append(Tower(index, scope, f"/gpu:{index}" if scope else "", (images,), (probs,)))
    return Frozen(graph_def, tuple(towers))


def _specs(tensors: Tensors) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name,
            tensor.name,
            np.dtype(tensor.dtype.as_numpy_dtype).name,
            tuple(-1 if size is None else size for size in tensor.shape.as_list()),
        )
        for name, tensor in tensors.items()
    )
