"""How the exporter's answers look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from exporter_service.checkpoint_contents import CheckpointContents
from exporter_service.client import ArchitectureDescription
from service_kit.console import size_text
from service_kit.manifest import Manifest


def manifest_table(manifest: Manifest) -> Table:
    """Returns everything that a person asks about a conversion that has ended."""
    table = Table(show_header=False, title=f"{manifest.model} version {manifest.version}")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    average, step = manifest.moving_average, manifest.checkpoint.global_step
    table.add_row("version", str(manifest.version))
    table.add_row("step", "unknown" if step is None else str(step))
    table.add_row("nodes", f"{manifest.graph.node_count:,}")
    table.add_row("size", f"{size_text(manifest.graph.size_bytes)} in {manifest.graph.file_name}")
    for tower in manifest.towers:
        tensors = f"{tower.inputs[0].tensor_name} -> {tower.outputs[0].tensor_name}"
        shape = "x".join("?" if size < 0 else str(size) for size in tower.inputs[0].shape)
        where = f" on {tower.device}" if tower.device else ""
        table.add_row(f"card {tower.index}", f"{tensors}  ({shape} {tower.inputs[0].dtype}){where}")
    table.add_row(
        "moving average",
        f"{average.from_shadow} of {average.from_shadow + average.from_own_key} variables "
        f"({average.mode.name.lower()})",
    )
    for reason, count in average.own_key_reasons.items():
        table.add_row("", f"{count} from their own key: {reason}")
    table.add_row(
        "parity",
        f"{'passed' if manifest.parity.passed else 'FAILED'}: largest difference "
        f"{manifest.parity.worst:g} in {len(manifest.parity.comparisons)} comparisons, "
        f"allowed {manifest.parity.tolerance:g}",
    )
    return table


def artifacts_table(manifests: Sequence[Manifest]) -> Table:
    """Returns one row an artifact."""
    table = Table()
    for name in ("model", "version", "step", "architecture", "cards", "size", "published"):
        table.add_column(name, overflow="fold")
    for manifest in manifests:
        step = manifest.checkpoint.global_step
        table.add_row(
            manifest.model,
            str(manifest.version),
            "" if step is None else str(step),
            manifest.architecture.name,
            str(len(manifest.towers)),
            size_text(manifest.graph.size_bytes),
            f"{manifest.created_at:%Y-%m-%d %H:%M:%S} UTC",
        )
    return table


def contents_table(contents: CheckpointContents) -> Table:
    """Returns a checkpoint's summary."""
    step = contents.checkpoint.global_step
    table = Table(show_header=False, title=contents.checkpoint.path)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row(
        "format", f"{contents.checkpoint.format.name}, {contents.shard_count} data file(s)"
    )
    table.add_row("step", "unknown" if step is None else str(step))
    table.add_row("tensors", f"{len(contents.tensors):,}")
    table.add_row("parameters", f"{contents.parameter_count:,}")
    table.add_row("optimizer slots", str(contents.optimizer_slot_count))
    table.add_row("moving averages", str(contents.shadow_count))
    for spec in contents.fitting:
        options = " ".join(f"{name}={value}" for name, value in spec.parameters.items())
        table.add_row("fits", f"{spec.name} {options}")
    if not contents.fitting:
        table.add_row("fits", "none of the known architectures")
    return table


def architectures_table(architectures: Sequence[ArchitectureDescription]) -> Table:
    """Returns one row an architecture."""
    table = Table("name", "image size", "parameters", "summary")
    for architecture in architectures:
        height, width = architecture.image_size
        table.add_row(
            architecture.name,
            f"{height}x{width}",
            ", ".join(architecture.parameters.get("properties", {})),
            architecture.summary,
        )
    return table
