"""Engines run a frozen graph. `Engine` is what the rest of the service knows of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy.typing as npt

from service_kit.manifest import Tower

Tensors = Mapping[str, npt.NDArray[Any]]


class Engine(Protocol):
    """A loaded graph."""

    def run(self, card: int, inputs: Tensors) -> Tensors:
        """Computes one batch on one card; calls for different cards may overlap.

        Args:
            card: index of the tower.
            inputs: arrays by semantic name, in the tower's dtypes.

        Returns:
            Arrays by semantic name.

        Raises:
            EngineFailed: with the engine's own words.
        """

    def close(self) -> None:
        """Frees the graph; nothing runs any more."""


# (graph file's bytes, towers) -> engine; raises EngineFailed.
EngineFactory = Callable[[bytes, Sequence[Tower]], Engine]
