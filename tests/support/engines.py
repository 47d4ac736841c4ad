"""An engine without TensorFlow: it averages pixels, and does what a test plants in it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from inference_service.engine import EngineCard
from inference_service.engine.devices import Device
from service_kit import errors

Tensors = Mapping[str, npt.NDArray[Any]]


class MeanEngine:
    """Answers `probs` [images, 3]: channel means; counts what it ran.

    `gate` holds every run while it is cleared. An image whose first pixel is `poison` makes
    its batch fail; a card in `broken_cards` fails on everything.
    """

    poison = -1.0
    computes_on_caller = False

    def __init__(self, graph: bytes = b"graph", cards: Sequence[EngineCard] = ()) -> None:
        if graph == b"broken":
            raise errors.EngineFailed("the graph has no tensor probs:0")
        self.offset = float(graph) if graph.isdigit() else 0.0
        self.cards = tuple(cards)
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)
        self.batches: list[tuple[int, int]] = []
        self.dtypes: set[str] = set()
        self.broken_cards: set[int] = set()
        self.closed = False

    def prepare(self, card: int) -> int:
        return card

    def run(self, card: int, inputs: Tensors) -> Tensors:
        assert not self.closed
        images = inputs["input"]
        self.started.release()
        assert self.gate.wait(timeout=30)
        self.batches.append((card, len(images)))
        self.dtypes.add(images.dtype.name)
        if card in self.broken_cards:
            raise errors.EngineFailed("the device is gone")
        if (images[:, 0, 0, 0] == self.poison).any():
            raise errors.EngineFailed("poisoned")
        return {"probs": images.mean(axis=(1, 2)) + np.float32(self.offset)}

    def close(self) -> None:
        self.closed = True

    def forget(self) -> None:
        """Counts anew, without what ran to warm it."""
        self.batches.clear()
        self.started = threading.Semaphore(0)


class SleepingEngine(MeanEngine):
    """Takes some seconds for each batch, and for each image in it."""

    def __init__(
        self,
        graph: bytes = b"graph",
        cards: Sequence[EngineCard] = (),
        *,
        batch: float = 0.0,
        image: float = 0.0,
    ) -> None:
        super().__init__(graph, cards)
        self._batch, self._image = batch, image

    def run(self, card: int, inputs: Tensors) -> Tensors:
        time.sleep(self._batch + self._image * len(inputs["input"]))
        return super().run(card, inputs)


class MeanEngines:
    """Makes such engines for lanes of the CPU, one by default, and keeps them.

    `gate` holds every load while it is cleared; `reached` is set when one has begun.
    """

    def __init__(self, devices: int = 1, make: Callable[..., MeanEngine] = MeanEngine) -> None:
        self.made: list[MeanEngine] = []
        self._make = make
        self.reached, self.gate = threading.Event(), threading.Event()
        self.gate.set()
        self._devices = [Device("cpu", lane) for lane in range(devices)]

    def devices(self) -> Sequence[Device]:
        return self._devices

    def load(self, graph: bytes, cards: Sequence[EngineCard]) -> MeanEngine:
        self.reached.set()
        assert self.gate.wait(timeout=30)
        self.made.append(self._make(graph, cards))
        return self.made[-1]


def one_second_a_run() -> Callable[[], float]:
    """Returns a clock for loaders: larger batches are always worth it."""
    ticks = itertools.count()
    return lambda: float(next(ticks))


def pixels(*values: float, dtype: str = "float32") -> npt.NDArray[Any]:
    """Returns one 2x2x3 image a value, filled with it."""
    return np.array(values, dtype).reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 3), dtype)
