"""Variables become constants, by either of the recipe's routes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.graphs.session import session_config
from service_kit import errors


def freeze_session(session: Any, outputs: Sequence[str], *, keep_devices: bool) -> Any:
    """Returns the GraphDef of a session with its variables' values as constants.

    Args:
        session: holds the graph and the values.
        outputs: names of the output tensors (`probs:0`); only what they need is kept.
        keep_devices: whether nodes keep their device pins.

    Raises:
        Unconvertible: a variable is used in a way that no constant can be.
    """
    nodes = list(dict.fromkeys(name.partition(":")[0] for name in outputs))
    try:
        frozen = tf.graph_util.convert_variables_to_constants(
            session, session.graph.as_graph_def(), nodes
        )
    except (ValueError, TypeError, KeyError) as error:
        raise errors.Unconvertible(f"the graph cannot be frozen: {error}") from error
    if not keep_devices:
        for node in frozen.node:
            node.device = ""
    return frozen


def save_placeholder_checkpoint(session: Any, folder: Path, name: str) -> Path:
    """Saves a session with its meta graph as checkpoint `name` and returns its prefix.

    Adds a saver to the session's graph.

    Raises:
        ScratchUnavailable: the files cannot be written.
    """
    with session.graph.as_default():
        saver = tf.train.Saver(tf.global_variables(), write_version=tf.train.SaverDef.V2)
        try:
            saver.save(session, str(folder / name), write_state=False)
        except (tf.errors.OpError, OSError) as error:
            raise errors.ScratchUnavailable(
                f"cannot write the checkpoint {name} into the temporary folder: {error}"
            ) from error
    return folder / name


def freeze_meta_graph(prefix: Path, outputs: Sequence[str], *, keep_devices: bool) -> Any:
    """Returns the GraphDef of a saved meta graph with its checkpoint's values as constants.

    Args:
        prefix: of a checkpoint with its `.meta`, as `save_placeholder_checkpoint` writes it.
        outputs: names of the output tensors; only what they need is kept.
        keep_devices: whether nodes keep their device pins.
    """
    with tf.Graph().as_default() as graph, tf.Session(config=session_config()) as session:
        saver = tf.train.import_meta_graph(f"{prefix}.meta", clear_devices=not keep_devices)
        saver.restore(session, str(prefix))
        assert session.graph is graph
        return freeze_session(session, outputs, keep_devices=keep_devices)
