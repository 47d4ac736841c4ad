"""An engine without TensorFlow: it averages pixels, and does what a test plants in it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from service_kit import errors
from service_kit.manifest import Tower

Tensors = Mapping[str, npt.NDArray[Any]]


class MeanEngine:
    """Answers `probs` [images, 3]: channel means; counts what it ran.

    `gate` holds every run while it is cleared. An image whose first pixel is `poison` makes
    its batch fail.
    """

    poison = -1.0

    def __init__(self, graph: bytes = b"graph", towers: Sequence[Tower] = ()) -> None:
        if graph == b"broken":
            raise errors.EngineFailed("the graph has no tensor probs:0")
        self.offset = float(graph) if graph.isdigit() else 0.0
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)
        self.batches: list[tuple[int, int]] = []
        self.dtypes: set[str] = set()
        self.closed = False

    def run(self, card: int, inputs: Tensors) -> Tensors:
        assert not self.closed
        images = inputs["input"]
        self.started.release()
        assert self.gate.wait(timeout=30)
        self.batches.append((card, len(images)))
        self.dtypes.add(images.dtype.name)
        if (images[:, 0, 0, 0] == self.poison).any():
            raise errors.EngineFailed("poisoned")
        return {"probs": images.mean(axis=(1, 2)) + np.float32(self.offset)}

    def close(self) -> None:
        self.closed = True


def pixels(*values: float, dtype: str = "float32") -> npt.NDArray[Any]:
    """Returns one 2x2x3 image a value, filled with it."""
    return np.array(values, dtype).reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 3), dtype)
