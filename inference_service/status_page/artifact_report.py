"""What a manifest says of an artifact, as far as a page shows it. Values in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service_kit.artifacts.manifest import Manifest, ParityReport, TensorSpec


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """What was compared on which images, the largest differences, and what is allowed."""

    subject: str
    probe: str
    max_absolute_difference: float
    max_relative_difference: float
    allowed_difference: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Parity:
    """The conversion's check; `state` is PASSED, FAILED, or NONE where nothing was compared."""

    state: str
    worst: float
    tolerance: float
    comparisons: tuple[ComparisonReport, ...]
    not_compared: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TensorReport:
    """A tensor at the border: semantic name, dtype, shape with -1 for any size."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ArtifactReport:
    """Where an artifact comes from; sizes in bytes, `checkpoint_step` None for none."""

    created_at: datetime
    graph_file: str
    graph_bytes: int
    graph_nodes: int
    graph_sha256: str
    checkpoint: str
    checkpoint_step: int | None
    checkpoint_format: str
    architecture: str
    parameters: Mapping[str, Any]
    moving_average: str
    from_shadow: int
    from_own_key: int
    towers: int
    inputs: tuple[TensorReport, ...]
    outputs: tuple[TensorReport, ...]
    class_labels: int
    tool_versions: Mapping[str, str]
    warnings: tuple[str, ...]
    parity: Parity


def artifact_report(manifest: Manifest) -> ArtifactReport:
    """Returns what a page shows of a manifest; the tensors are those of its first tower."""
    tower = manifest.towers[0] if manifest.towers else None
    return ArtifactReport(
        created_at=manifest.created_at,
        graph_file=manifest.graph.file_name,
        graph_bytes=manifest.graph.size_bytes,
        graph_nodes=manifest.graph.node_count,
        graph_sha256=manifest.graph.sha256,
        checkpoint=manifest.checkpoint.path,
        checkpoint_step=manifest.checkpoint.global_step,
        checkpoint_format=manifest.checkpoint.format.value,
        architecture=manifest.architecture.name,
        parameters=manifest.architecture.parameters,
        moving_average=manifest.moving_average.mode.value,
        from_shadow=manifest.moving_average.from_shadow,
        from_own_key=manifest.moving_average.from_own_key,
        towers=len(manifest.towers),
        inputs=tuple(map(_tensor, tower.inputs)) if tower else (),
        outputs=tuple(map(_tensor, tower.outputs)) if tower else (),
        class_labels=len(manifest.class_labels),
        tool_versions=manifest.tool_versions,
        warnings=manifest.warnings,
        parity=parity(manifest.parity),
    )


def parity(report: ParityReport) -> Parity:
    """Returns a parity report with what follows from its numbers."""
    state = "NONE" if not report.comparisons else "PASSED" if report.passed else "FAILED"
    return Parity(
        state=state,
        worst=report.worst,
        tolerance=report.tolerance,
        comparisons=tuple(
            ComparisonReport(
                subject=one.subject,
                probe=one.probe,
                max_absolute_difference=one.max_absolute_difference,
                max_relative_difference=one.max_relative_difference,
                allowed_difference=one.allowed_difference,
                passed=one.passed,
            )
            for one in report.comparisons
        ),
        not_compared=report.not_compared,
    )


def _tensor(spec: TensorSpec) -> TensorReport:
    return TensorReport(spec.name, spec.dtype, spec.shape)
