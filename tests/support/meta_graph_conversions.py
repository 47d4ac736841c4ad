"""Converts saved training graphs from their `.meta` alone, and reads the result's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from exporter_service.checkpoints.roots import CheckpointRoots
from exporter_service.graphs.session import session_config
from exporter_service.specs.conversion import ConversionSpec, TowerOptions
from service_kit.artifacts.manifest import ArchitectureSpec, Conversion, MovingAverageMode
from tests.support.digits import convert_and_prove
from tests.support.training_graphs import Feeds, Saved

IMAGES = np.random.default_rng(1).uniform(0, 1, (5, 8, 8, 3)).astype(np.float32)
FLAT = np.random.default_rng(2).uniform(0, 1, (5, 12)).astype(np.float32)
CLOSE = 1e-5


def converted(
    prefix: Path,
    folder: Path,
    cards: int = 1,
    moving_average: str = "AUTO",
    order: dict[str, Any] | None = None,
    **parameters: Any,
) -> Conversion:
    """Converts and proves; `order` has what the order has beside the parameters."""
    folder.mkdir(exist_ok=True)
    fields: dict[str, Any] = {
        "checkpoint": CheckpointRoots([prefix.parent]).locate(prefix.name),
        "architecture": ArchitectureSpec("META_GRAPH", parameters),
        "towers": TowerOptions(cards=cards),
        "moving_average": MovingAverageMode[moving_average],
    }
    return convert_and_prove(ConversionSpec(**(fields | (order or {}))), folder)


def answered(done: Conversion, folder: Path, feeds: Feeds) -> list[dict[str, Any]]:
    """Returns the outputs of each tower of the frozen file."""
    with tf.Graph().as_default() as graph, tf.Session(config=session_config()) as session:
        content = (folder / done.graph.file_name).read_bytes()
        tf.import_graph_def(tf.GraphDef.FromString(content), name="")
        assert not [op.type for op in graph.get_operations() if "Variable" in op.type]
        return [
            session.run(
                {spec.name: spec.tensor_name for spec in tower.outputs},
                {spec.tensor_name: feeds[spec.name] for spec in tower.inputs},
            )
            for tower in done.towers
        ]


def check(saved: Saved, folder: Path, feeds: Feeds, **parameters: Any) -> Conversion:
    """Converts and compares every card's answers with the inference written by hand."""
    done = converted(saved.prefix, folder, **parameters)
    for outputs in answered(done, folder, feeds):
        assert outputs.keys() == saved.wanted.keys()
        for name, value in saved.wanted.items():
            np.testing.assert_allclose(outputs[name], value, atol=CLOSE, rtol=CLOSE)
    return done


def batches(image: tuple[int, ...] = (8, 8, 3), dtype: Any = tf.float32, batch: int = 4) -> Any:
    """Returns what a training script takes from tf.data: images and labels."""
    dataset = tf.data.Dataset.from_tensor_slices(
        (np.zeros((16, *image), dtype.as_numpy_dtype), np.zeros(16, np.int32))
    )
    return tf.data.make_one_shot_iterator(dataset.repeat().batch(batch)).get_next()


def images_placeholder(shape: tuple[int, ...] = (8, 8, 3), dtype: Any = tf.float32) -> Any:
    """Returns the input of an inference written by hand."""
    return tf.placeholder(dtype, [None, *shape], name="input")
