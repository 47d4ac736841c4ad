"""What the client returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from inference_service.wire.scored_class import ScoredClass
from service_kit import errors
from service_kit.artifacts.manifest import ParityReport, TensorSpec

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Outputs by semantic name (`probs`, float32 [images, classes]), and who computed them.

    Times are in seconds. `cards` computed the images, in their order; `card` is the first of
    them. `top` has the best classes of every image, if they were asked for.
    """

    outputs: Mapping[str, Array]
    model: str
    version: int
    card: int
    cards: tuple[int, ...]
    batch_size: int
    queue_seconds: float
    compute_seconds: float
    top: tuple[tuple[ScoredClass, ...], ...] = ()


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
class BatchTiming:
    """Images in a batch, and the seconds that it took when the version was warmed."""

    batch_size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CardCounts:
    """What became of a card's requests since the version was loaded; images for `non_finite_*`."""

    batches: int
    failed_requests: int
    expired_requests: int
    cancelled_requests: int
    refused_requests: int
    non_finite_inputs: int
    non_finite_outputs: int
    busy_seconds: float


@dataclass(frozen=True, slots=True)
class Card:
    """A card of a loaded version; counts are in images.

    `device` is what the artifact asks for, `runs_on` what this server has; `tower` is not the
    card's own index for a copy of tower 0. An unhealthy card takes no requests until a probe
    succeeds.
    """

    index: int
    device: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    outstanding_images: int
    outstanding_bytes: int
    answered_images: int
    max_batch_size: int
    runs_on: str
    shares_device_with: tuple[int, ...]
    tower: int
    timings: tuple[BatchTiming, ...]
    healthy: bool
    last_error: str
    counts: CardCounts


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What runs a version, why, and in which precision (`f32`, `bf16`, `f16`).

    `parity` compares its answers with those stored with the artifact; None: it has made them.
    """

    name: str
    version: str
    reason: str
    precision: str
    parity: ParityReport | None


@dataclass(frozen=True, slots=True)
class Version:
    """A version's state (`AVAILABLE`, `LOADING`, `UNLOADING`, `FAILED`) and why.

    `retry_in_seconds` is None when a failed load is not tried again; `load_seconds` and
    `engine` are None when the version is not loaded; `leases` are requests that have it now.
    """

    version: int
    state: str
    reason: str
    graph_sha256: str
    cards: tuple[Card, ...]
    retry_in_seconds: float | None
    load_seconds: float | None
    leases: int
    engine: EngineStatus | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A model; `default_version` is 0 when none is served; `labels` point at versions."""

    name: str
    default_version: int
    versions: tuple[Version, ...]
    labels: Mapping[str, int]
