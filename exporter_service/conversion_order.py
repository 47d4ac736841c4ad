"""What a conversion is asked to do, as values that reach its process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from exporter_service.checkpoint_roots import CheckpointLocation
from service_kit.manifest import ArchitectureSpec, MovingAverageMode, Preprocessing

DeviceKind = Literal["gpu", "cpu"]


@dataclass(frozen=True, slots=True)
class ConversionRequest:
    """A validated request; `image_size` is (height, width) in pixels, None: the default."""

    model: str
    version: int | None
    checkpoint: str
    architecture: ArchitectureSpec
    image_size: tuple[int, int] | None
    cards: int
    device_kind: DeviceKind
    moving_average: MovingAverageMode
    preprocessing: Preprocessing
    request_id: str


@dataclass(frozen=True, slots=True)
class ConversionOrder:
    """What the conversion's own process needs to know of a request."""

    checkpoint: CheckpointLocation
    architecture: ArchitectureSpec
    image_size: tuple[int, int]
    cards: int
    device_kind: DeviceKind
    moving_average: MovingAverageMode
    preprocessing: Preprocessing
