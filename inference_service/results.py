"""What the client returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from service_kit import errors
from service_kit.manifest import TensorSpec

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Outputs by semantic name (`probs`, float32 [images, classes]), and who computed them.

    Times are in seconds.
    """

    outputs: Mapping[str, Array]
    model: str
    version: int
    card: int
    batch_size: int
    queue_seconds: float
    compute_seconds: float


@dataclass(frozen=True, slots=True)
class StreamAnswer:
    """What became of the request at `index` of a stream: a prediction or an error."""

    index: int
    prediction: Prediction | None
    error: errors.PbserveError | None

    def result(self) -> Prediction:
        """Returns the prediction, or raises the error."""
        if self.prediction is None:
            raise self.error or errors.RemoteError("the server sent neither answer nor error")
        return self.prediction


@dataclass(frozen=True, slots=True)
class Card:
    """A card of a loaded version; counts are in images."""

    index: int
    device: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    outstanding_images: int
    answered_images: int
    max_batch_size: int


@dataclass(frozen=True, slots=True)
class Version:
    """A version's state (`AVAILABLE`, `LOADING`, `UNLOADING`, `FAILED`) and why."""

    version: int
    state: str
    reason: str
    graph_sha256: str
    cards: tuple[Card, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A model; `default_version` is 0 when none is served."""

    name: str
    default_version: int
    versions: tuple[Version, ...]
