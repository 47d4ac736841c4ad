"""What an artifact says about itself.

The dataclasses mirror the messages of `protos/pbserve/artifact/v1/manifest.proto`, where
every field is explained; `service_kit.manifest_codec` converts between the two.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

MANIFEST_NAME = "manifest.json"


class CheckpointFormat(enum.Enum):
    """File formats of TensorFlow 1 checkpoints."""

    V1 = "V1"
    V2 = "V2"


class MovingAverageMode(enum.Enum):
    """How trained variables are chosen between their own value and their moving average."""

    AUTO = "AUTO"
    REQUIRED = "REQUIRED"
    OFF = "OFF"


@dataclass(frozen=True, slots=True)
class GraphFile:
    """The frozen graph's file: size in bytes, SHA-256 in hexadecimal."""

    file_name: str
    size_bytes: int
    sha256: str
    node_count: int


@dataclass(frozen=True, slots=True)
class CheckpointOrigin:
    """The training checkpoint: its prefix, and the step at the end of that, if any."""

    path: str
    global_step: int | None
    format: CheckpointFormat
    index_sha256: str


@dataclass(frozen=True, slots=True)
class ArchitectureSpec:
    """An architecture by name, with parameters of JSON types."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MovingAverageReport:
    """Numbers of variables by the key that they were restored from."""

    mode: MovingAverageMode
    from_shadow: int
    from_own_key: int
    own_key_reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """`(image - mean) * scale` per channel; empty: left out."""

    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor at a tower's border: semantic name, name in the graph, NumPy dtype, shape.

    In `shape` -1 stands for any size; the first dimension is the batch.
    """

    name: str
    tensor_name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tower:
    """One copy of the graph in a name scope, meant for the card of the same index."""

    index: int
    scope: str
    device: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class ParityComparison:
    """Largest differences between two computations on the same images."""

    subject: str
    probe: str
    max_absolute_difference: float
    max_relative_difference: float


@dataclass(frozen=True, slots=True)
class ParityReport:
    """Everything that was compared, and the largest absolute difference allowed."""

    comparisons: tuple[ParityComparison, ...]
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether every difference is a number within the tolerance."""
        return all(c.max_absolute_difference <= self.tolerance for c in self.comparisons)

    @property
    def worst(self) -> float:
        """The largest absolute difference of all comparisons."""
        return max((c.max_absolute_difference for c in self.comparisons), default=0.0)


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion can say of its graph before it has a version."""

    graph: GraphFile
    checkpoint: CheckpointOrigin
    architecture: ArchitectureSpec
    moving_average: MovingAverageReport
    preprocessing: Preprocessing
    towers: tuple[Tower, ...]
    parity: ParityReport
    tool_versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(Conversion):
    """A published artifact: a conversion's result under a model and a version."""

    model: str
    version: int
    created_at: datetime


def published_as(
    conversion: Conversion, model: str, version: int, created_at: datetime
) -> Manifest:
    """Returns the manifest of a conversion that becomes a version of a model."""
    described = {field.name: getattr(conversion, field.name) for field in fields(Conversion)}
    return Manifest(**described, model=model, version=version, created_at=created_at)
