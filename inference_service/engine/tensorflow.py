"""The default engine: one TensorFlow session, and a prepared call for every tower."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

# The same for the pools inside ops; read when the first session is made.
os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")

import tensorflow.compat.v1 as tf
from google.protobuf.message import DecodeError

from inference_service.engine import Tensors
from service_kit import errors
from service_kit.manifest import Tower


class TensorFlowEngine:
    """Runs a frozen graph in one session; all towers share its constants."""

    def __init__(self, graph: bytes, towers: Sequence[Tower]) -> None:
        """Parses and imports the graph and looks up every tensor of the towers.

        Raises:
            EngineFailed: the bytes are no graph, or a tensor is not in it.
        """
        self._towers = tuple(towers)
        imported = tf.Graph()
        with imported.as_default():
            try:
                tf.import_graph_def(tf.GraphDef.FromString(graph), name="")
            except (DecodeError, ValueError, TypeError, tf.errors.OpError) as error:
                raise errors.EngineFailed(f"TensorFlow cannot import the graph: {error}") from error
        self._session = tf.Session(graph=imported, config=_session_config(len(towers)))
        self._calls = [self._prepared(imported, tower) for tower in towers]

    def _prepared(self, graph: Any, tower: Tower) -> Any:
        try:
            feeds = [graph.get_tensor_by_name(spec.tensor_name) for spec in tower.inputs]
            fetches = [graph.get_tensor_by_name(spec.tensor_name) for spec in tower.outputs]
        except (KeyError, ValueError) as error:
            raise errors.EngineFailed(f"card {tower.index}: {error.args[0]}") from error
        # Measured faster than Session.run, which builds this anew for every call.
        return self._session.make_callable(fetches, feeds)

    def run(self, card: int, inputs: Tensors) -> Tensors:
        """See `Engine.run`."""
        tower = self._towers[card]
        try:
            outputs = self._calls[card](*(inputs[spec.name] for spec in tower.inputs))
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise errors.EngineFailed(f"TensorFlow failed on card {card}: {error}") from error
        return {spec.name: output for spec, output in zip(tower.outputs, outputs, strict=True)}

    def close(self) -> None:
        """See `Engine.close`."""
        self._calls.clear()
        self._session.close()


def _session_config(cards: int) -> Any:
    """Returns a configuration in which all cards of an artifact can run at the same time.

    Inside ops TensorFlow's own pool, one thread a core for the whole process, is used:
    `benchmarks/session_threads.py` found no other choice to be faster with two callers.
    """
    cores = len(os.sched_getaffinity(0))
    config = tf.ConfigProto(
        # Graphs pinned to cards that this machine lacks run on those that it has.
        allow_soft_placement=True,
        # A pool of this session's own: the first session of the process, which may have fewer
        # cards, would otherwise size it for all.
        inter_op_parallelism_threads=max(cards, cores),
        use_per_session_threads=True,
    )
    config.gpu_options.allow_growth = True
    return config
