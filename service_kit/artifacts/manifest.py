"""What an artifact says about itself.

The dataclasses mirror the messages of `protos/pbserve/artifact/v1/manifest.proto`, where
every field is explained; `service_kit.artifacts.manifest_codec` converts between the two, by
the names of fields and of enum members. An alias UNSPECIFIED is what an enum that was left out
means.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

MANIFEST_NAME = "manifest.json"
# Beside the files that it names; see `manifest_digest`.
DIGEST_NAME = f"{MANIFEST_NAME}.sha256"
# Of this release, as a reader of manifests: see `Manifest.min_reader` in the contract.
READER = 3


class CheckpointFormat(enum.Enum):
    """File formats of TensorFlow 1 checkpoints, and graphs that never were one here."""

    V1 = "V1"
    V2 = "V2"
    FROZEN_GRAPH = "FROZEN_GRAPH"


class MovingAverageMode(enum.Enum):
    """How trained variables are chosen between their own value and their moving average."""

    AUTO = "AUTO"
    REQUIRED = "REQUIRED"
    OFF = "OFF"
    UNSPECIFIED = AUTO


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


class Augmentation(enum.Enum):
    """Random changes of images inside the graph."""

    NONE = "NONE"
    TRAINING = "TRAINING"
    UNSPECIFIED = NONE


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """`(image - mean) * scale` per channel, after the augmentation; empty: left out."""

    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    augmentation: Augmentation = Augmentation.NONE


class ArtifactFileKind(enum.Enum):
    """What a file beside the graph is for."""

    UNSPECIFIED = "UNSPECIFIED"
    SAVED_MODEL = "SAVED_MODEL"
    ONNX = "ONNX"
    CHECKPOINT = "CHECKPOINT"
    PROOF = "PROOF"


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """A file beside the graph: size in bytes, SHA-256 in hexadecimal."""

    file_name: str
    size_bytes: int
    sha256: str
    kind: ArtifactFileKind


@dataclass(frozen=True, slots=True)
class CutInput:
    """A port of a training graph that became a placeholder, and what fed it by op type."""

    name: str
    tensor_name: str
    kind: str
    upstream: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class MetaGraphReport:
    """What turned a training graph into an inference graph; `twin` is empty for none.

    Variables that carry state between calls of the training graph are in `initial_states` when
    every request begins with their initializer's value, and in `kept_stored` when the user wanted
    their value in the checkpoint.
    """

    inputs: tuple[CutInput, ...]
    batch_norms_switched: int
    dropouts_removed: int
    bound: Mapping[str, str]
    twin: str = ""
    initial_states: tuple[str, ...] = ()
    kept_stored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor at a tower's border: semantic name, name in the graph, NumPy dtype, shape.

    In `shape` -1 stands for any size; the first dimension is the batch. `probe_shape` has the
    sizes of one image that an input was proven with, where not any will do.
    """

    name: str
    tensor_name: str
    dtype: str
    shape: tuple[int, ...]
    probe_shape: tuple[int, ...] = ()


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
    """Largest differences between two computations on the same batch, and what is allowed."""

    subject: str
    probe: str
    max_absolute_difference: float
    max_relative_difference: float
    allowed_difference: float

    @property
    def passed(self) -> bool:
        """Whether the difference is a number within what is allowed."""
        return self.max_absolute_difference <= self.allowed_difference


@dataclass(frozen=True, slots=True)
class ParityReport:
    """Everything that was compared, and the share of the magnitude that may differ.

    `not_compared` says what was left out, and why. `rows_by_inference` and `rows_by_runs` name the
    outputs that were proven to have exactly one row an image, by how that was shown.
    """

    comparisons: tuple[ParityComparison, ...]
    tolerance: float
    not_compared: tuple[str, ...] = ()
    rows_by_inference: tuple[str, ...] = ()
    rows_by_runs: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether there are comparisons and all of them passed."""
        return bool(self.comparisons) and all(c.passed for c in self.comparisons)

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
    files: tuple[ArtifactFile, ...] = ()
    warnings: tuple[str, ...] = ()
    meta_graph: MetaGraphReport | None = None
    # One a class, in the order of the output that `service_kit.artifacts.class_labels` says.
    class_labels: tuple[str, ...] = ()
    # Outputs need not have one row an image: each request runs alone and gets them whole.
    unbatched: bool = False
    # Most images that the graph takes in one run; 0: any number.
    max_batch: int = 0
    # Of the request that asked for it; a retry is recognised by the two.
    request_id: str = ""
    request_sha256: str = ""

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names of all files but the manifest; the graph is the first."""
        return tuple(file.file_name for file in self.all_files)

    @property
    def all_files(self) -> tuple[GraphFile | ArtifactFile, ...]:
        """All files but the manifest; the graph is the first."""
        return (self.graph, *self.files)

    @property
    def rows_proven(self) -> bool:
        """Whether each output was proven to have one row an image, so that requests may share."""
        proven = {*self.parity.rows_by_inference, *self.parity.rows_by_runs}
        return {spec.name for spec in self.towers[0].outputs} <= proven

    @property
    def batch_matters(self) -> bool:
        """Whether requests must not share a batch, for what the user asked to keep."""
        return self.varies or bool(self.architecture.parameters.get("keep_batch_statistics"))

    @property
    def varies(self) -> bool:
        """Whether equal requests get different answers: dropouts were kept as the user asked."""
        return bool(self.architecture.parameters.get("keep_dropout"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(Conversion):
    """A published artifact: a conversion's result under a model and a version."""

    model: str
    version: int
    created_at: datetime
    # Below the version's, where the files lie; empty: beside the manifest.
    folder: str = ""


def published_as(
    conversion: Conversion, model: str, version: int, created_at: datetime
) -> Manifest:
    """Returns the manifest of a conversion that becomes a version of a model."""
    described = {field.name: getattr(conversion, field.name) for field in fields(Conversion)}
    return Manifest(**described, model=model, version=version, created_at=created_at)
