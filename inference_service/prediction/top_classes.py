"""The best classes of each image. Values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from inference_service.wire.scored_class import ScoredClass
from service_kit import errors
from service_kit.artifacts.class_labels import LABELLED_OUTPUT
from service_kit.artifacts.manifest import TensorSpec

# Measured: 50 ns to sort a score, 0.7 microseconds to make an object of a class. Both together
# are about a millisecond, ten times what changing threads takes.
_MANY_SCORES, _MANY_CLASSES = 10_000, 1_000


def ranking_takes_long(images: int, classes: int, count: int) -> bool:
    """Whether `top_classes` takes so long that nobody should wait for it on an event loop."""
    return images * classes > _MANY_SCORES or images * min(classes, count) > _MANY_CLASSES


def top_classes(
    scores: npt.NDArray[Any], count: int, labels: Sequence[str]
) -> list[list[ScoredClass]]:
    """Returns the best classes of each image: highest score first, of equal ones the lower index.

    Args:
        scores: [images, classes], of any real dtype; NaN comes after every number.
        count: how many classes to return for an image, 0 or more; all if there are fewer.
        labels: of the classes in order; a class beyond them has the label "".
    """
    # Descending without turning the order of equals round: `~` does for integers and booleans
    # what a minus does for floats, and neither overflows.
    floats = np.issubdtype(scores.dtype, np.floating)
    descending = -scores if floats else ~scores
    best = np.argsort(descending, axis=1, kind="stable")[:, :count]
    values = np.take_along_axis(scores, best, axis=1).astype(np.float64)
    return [
        [
            ScoredClass(index, score, labels[index] if index < len(labels) else "")
            for index, score in zip(indices, row, strict=True)
        ]
        for indices, row in zip(best.tolist(), values.tolist(), strict=True)
    ]


def scored_output(outputs: Sequence[TensorSpec]) -> str:
    """Returns the name of the output whose classes are ranked: `probs`, or the only candidate.

    A candidate has the shape [images, classes].

    Raises:
        InvalidRequest: `probs` has another shape, or there is no `probs` and not one candidate;
            says which outputs there are.
    """
    named = [spec for spec in outputs if spec.name == LABELLED_OUTPUT]
    candidates = [spec.name for spec in named or outputs if len(spec.shape) == 2]
    if len(candidates) != 1:
        there = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in outputs)
        raise errors.InvalidRequest(
            f"the model's outputs are {there}: classes are ranked for {LABELLED_OUTPUT} of shape "
            f"[images, classes], or for the only output of that shape where none is called "
            f"{LABELLED_OUTPUT}; ask for the outputs themselves"
        )
    return candidates[0]
