"""Engines run a frozen graph. `Engine` is what the rest of the service knows of them."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from inference_service.engine.devices import Device
from service_kit import errors
from service_kit.artifacts.manifest import ParityReport, Tower

Tensors = Mapping[str, npt.NDArray[Any]]


class Precision(enum.Enum):
    """What an engine multiplies in; what goes in and comes out keeps its dtype."""

    F32 = "f32"
    BF16 = "bf16"
    F16 = "f16"


@dataclass(frozen=True, slots=True)
class EngineCard:
    """The tower of the artifact that a card runs, where, and in which precision."""

    tower: Tower
    device: Device
    precision: Precision = Precision.F32


@dataclass(frozen=True, slots=True)
class EngineReport:
    """Which engine runs a version, and why.

    Attributes:
        name: as in `--engine`.
        version: of its package; empty: not known.
        reason: why this one, in words.
        precision: what it computes in.
        parity: its answers against those stored with the artifact; None: they were not compared,
            as with the engine that has made them.
    """

    name: str
    version: str = ""
    reason: str = ""
    precision: Precision = Precision.F32
    parity: ParityReport | None = None


class Engine(Protocol):
    """A loaded graph with its cards, which are numbered from 0.

    Attributes:
        computes_on_caller: whether runs compute on the thread that calls alone: then its processor
            time is what a batch costs, whatever else the machine does.
    """

    computes_on_caller: bool

    def prepare(self, card: int) -> int:
        """Makes a card ready to run; may take seconds, and calls for cards may not overlap.

        Returns:
            A number that is the same for cards that run the same prepared code: what is warm
            for one of them is warm for all.

        Raises:
            EngineFailed: with the engine's own words.
        """

    def run(self, card: int, inputs: Tensors) -> Tensors:
        """Computes one batch on one prepared card; calls for different cards may overlap.

        Args:
            card: index of the card.
            inputs: arrays by semantic name, in the tower's dtypes.

        Returns:
            Arrays by semantic name.

        Raises:
            EngineFailed: with the engine's own words.
        """

    def close(self) -> None:
        """Frees the graph; nothing runs any more."""


class Engines(Protocol):
    """Makes engines for the devices of this machine."""

    def devices(self) -> Sequence[Device]:
        """Returns the devices that cards run on, at least one; may take seconds.

        Raises:
            InvalidRequest: a device that was asked for is not there.
        """

    def load(self, graph: bytes, cards: Sequence[EngineCard]) -> Engine:
        """Returns the engine of a graph file.

        Raises:
            EngineFailed: the bytes are no graph, or a tensor is not in it.
            EngineUnfit: the engine, or the processor, cannot do what is asked for.
            GraphRefused: the graph has an op that may not run here.
        """


def check_f32(cards: Sequence[EngineCard], engine: str) -> None:
    """Raises `EngineUnfit` for cards in another precision, which the named engine has not."""
    for card in cards:
        if card.precision is not Precision.F32:
            raise errors.EngineUnfit(
                f"leave out the model's `precision`, or use --engine openvino: {engine} computes "
                f"in f32, not {card.precision.value}"
            )
