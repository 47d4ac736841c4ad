"""Checkpoints of large nets with random values: as big and as many keys as real ones."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from exporter_service.architectures.registry import find_architecture
from service_kit.artifacts.manifest import ArchitectureSpec

STEP = 1000


def write_random_checkpoint(
    folder: Path, name: str, slots: tuple[str, ...] = ()
) -> ArchitectureSpec:
    """Writes a checkpoint of an architecture with 2 classes and returns what it fits.

    Args:
        folder: where `checkpoint` and `model.ckpt-1000.*` go.
        name: of the architecture.
        slots: suffixes, such as `/Adam`, that every trainable variable has a tensor for.
    """
    import tensorflow.compat.v1 as tf

    architecture = find_architecture(name)
    random = np.random.default_rng(5)
    values = {}
    for key, variable in architecture.variables(architecture.parse({"classes": 2})).items():
        scale = math.prod(variable.shape[:3])
        for suffix in ("", *(slots if variable.trainable else ())):
            values[key + suffix] = random.uniform(0.5, 1.0, variable.shape) / scale
    with tf.Graph().as_default(), tf.Session() as session:
        made = {
            key: tf.Variable(tf.zeros(value.shape), name=key, use_resource=False)
            for key, value in values.items()
        }
        session.run(
            [variable.initializer for variable in made.values()],
            {made[key].initializer.inputs[1]: value for key, value in values.items()},
        )
        saver = tf.train.Saver(list(made.values()))
        saver.save(session, str(folder / "model.ckpt"), STEP, write_meta_graph=False)
    return ArchitectureSpec(name, {"classes": 2})
