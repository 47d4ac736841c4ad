"""The check: what the frozen graph answers against what the session answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow.compat.v1 as tf

from service_kit import errors
from service_kit.manifest import ParityComparison, ParityReport, Tower

Images = npt.NDArray[np.float32]
# The same ops on the same machine; the bar that the recipe's numbers have to meet as well.
TOLERANCE = 1e-5
_NOISE_SEED = 20181220
_NOISE_IMAGES = 2
_PIXEL_MAXIMUM = 255.0
# Below this magnitude a relative difference says nothing about float32.
_RELATIVE_FLOOR = 1e-6


def probes(towers: Sequence[Tower]) -> dict[str, Images]:
    """Returns the images to compare on, by name: one of ones, and fixed noise in 0..255."""
    shape = towers[0].inputs[0].shape[1:]
    noise = np.random.default_rng(_NOISE_SEED).uniform(0, _PIXEL_MAXIMUM, (_NOISE_IMAGES, *shape))
    return {"ones": np.ones((1, *shape), np.float32), "noise": noise.astype(np.float32)}


def answers(
    session: Any, towers: Sequence[Tower], images: Mapping[str, Images]
) -> dict[str, list[Images]]:
    """Returns probe -> the first output of every tower, all towers fed and fetched in one call."""
    fetches = [tower.outputs[0].tensor_name for tower in towers]
    return {
        probe: session.run(fetches, {tower.inputs[0].tensor_name: batch for tower in towers})
        for probe, batch in images.items()
    }


def check_frozen(
    graph_def: Any,
    towers: Sequence[Tower],
    images: Mapping[str, Images],
    expected: Mapping[str, list[Images]],
    config: Any,
) -> ParityReport:
    """Loads the frozen graph into a fresh graph and compares its answers.

    Every tower is compared with the session before freezing, and with tower 0.

    Args:
        graph_def: the frozen graph.
        towers: its tensors.
        images: probe -> float32 [batch, height, width, channels].
        expected: what `answers` returned for the session before freezing.
        config: of the session to run it in.

    Raises:
        ParityFailed: a difference is beyond the tolerance, or not a number.
    """
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    with tf.Session(graph=graph, config=config) as session:
        found = answers(session, towers, images)
    comparisons = []
    for probe, outputs in found.items():
        for tower, output, reference in zip(towers, outputs, expected[probe], strict=True):
            label = tower.scope or "frozen graph"
            comparisons.append(compared(f"{label} with session", probe, output, reference))
            if tower.index:
                comparisons.append(
                    compared(f"{label} with {towers[0].scope}", probe, output, outputs[0])
                )
    report = ParityReport(tuple(comparisons), TOLERANCE)
    if not report.passed:
        worst = max(comparisons, key=lambda c: np.nan_to_num(c.max_absolute_difference, nan=np.inf))
        raise errors.ParityFailed(
            f"the frozen graph's numbers differ: {worst.subject} on {worst.probe} by "
            f"{worst.max_absolute_difference:g}, allowed are {TOLERANCE:g}; nothing was published"
        )
    return report


def compared(subject: str, probe: str, output: Images, reference: Images) -> ParityComparison:
    """Returns the largest differences of two outputs, float32 [batch, ...] of equal shape."""
    difference = np.abs(output.astype(np.float64) - reference)
    relative = difference / np.maximum(np.abs(reference), _RELATIVE_FLOOR)
    return ParityComparison(subject, probe, float(difference.max()), float(relative.max()))
