"""How the exporter's answers look in a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from exporter_service.architectures.description import ArchitectureDescription
from exporter_service.checkpoints.contents import CheckpointContents
from exporter_service.checkpoints.graph_contents import MetaGraphContents
from service_kit.artifacts.manifest import Manifest, MetaGraphReport, ParityReport, TensorSpec
from service_kit.cli.console import lean_table, plain, size_text

_SHOWN = 8
_SHOWN_LABELS = 3


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
    for file in manifest.files:
        table.add_row(
            file.kind.name.lower().replace("_", " "),
            f"{size_text(file.size_bytes)} in {file.file_name}",
        )
    for tower in manifest.towers:
        where = f" on {tower.device}" if tower.device else ""
        for label, specs in (("takes", tower.inputs), ("gives", tower.outputs)):
            text = ", ".join(map(_tensor, specs))
            table.add_row(f"card {tower.index} {label}", text + (where if label == "takes" else ""))
    if manifest.class_labels:
        # A text: a label may hold what would be markup.
        table.add_row("class labels", Text(_labels(manifest.class_labels)))
    variables = average.from_shadow + average.from_own_key
    if variables:
        table.add_row(
            "moving average",
            f"{average.from_shadow} of {variables} variables ({average.mode.name.lower()})",
        )
    for reason, count in average.own_key_reasons.items():
        table.add_row("", f"{count} from their own key: {reason}")
    for label, text in _meta_graph_rows(manifest.meta_graph):
        table.add_row(label, text)
    if manifest.unbatched:
        table.add_row("unbatched", "each request runs alone, and gets the outputs whole")
    table.add_row("parity", _verdict(manifest.parity))
    for line in manifest.parity.not_compared:
        table.add_row("", f"not compared: {line}")
    return table


def manifest_values(manifest: Manifest) -> dict[str, Any]:
    """Returns a manifest for programs, with the verdict of its check."""
    first = {"model": manifest.model, "version": manifest.version}
    return {**first, **plain(manifest), "parity": parity_values(manifest.parity)}


def parity_table(report: ParityReport) -> Table:
    """Returns one row a comparison."""
    table = lean_table(
        *("comparison", "on", "difference", "allowed"),
        words=("comparison", "on"),
        title=_verdict(report),
        title_justify="left",
    )
    for one in report.comparisons:
        table.add_row(
            one.subject,
            one.probe,
            f"{one.max_absolute_difference:g}",
            f"{one.allowed_difference:g}",
            style="" if one.passed else "bold red",
        )
    for line in report.not_compared:
        table.add_row(f"not compared: {line}")
    return table


def parity_values(report: ParityReport) -> dict[str, Any]:
    """Returns a report for programs, with its verdict."""
    return {
        **plain(report),
        "passed": report.passed,
        "max_absolute_difference": report.worst,
    }


def artifacts_table(manifests: Sequence[Manifest]) -> Table:
    """Returns one row an artifact."""
    table = lean_table(
        *("model", "version", "step", "architecture", "cards", "size", "published"),
        words=("model", "architecture", "published"),
    )
    for manifest in manifests:
        step = manifest.checkpoint.global_step
        table.add_row(
            manifest.model,
            str(manifest.version),
            "" if step is None else str(step),
            manifest.architecture.name,
            str(len(manifest.towers)),
            size_text(manifest.graph.size_bytes),
            f"{manifest.created_at:%Y-%m-%d %H:%M} UTC",
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
    size = size_text(sum(contents.parameter_bytes.values()))
    table.add_row("parameters", f"{contents.parameter_count:,} ({size})")
    table.add_row("optimizer slots", str(contents.optimizer_slot_count))
    table.add_row("moving averages", str(contents.shadow_count))
    for spec in contents.fitting:
        options = " ".join(f"{name}={value}" for name, value in spec.parameters.items())
        table.add_row("fits", f"{spec.name} {options}")
    if not contents.fitting:
        table.add_row("fits", "none of the known architectures")
    if contents.meta_graph_problem:
        table.add_row("training graph", contents.meta_graph_problem)
    elif contents.meta_graph is None:
        table.add_row("training graph", "none: there is no .meta beside the checkpoint")
    else:
        for label, text in _training_graph(contents.meta_graph):
            table.add_row(label, text)
    return table


def contents_values(contents: CheckpointContents) -> dict[str, Any]:
    """Returns what a checkpoint holds for programs."""
    return {
        **plain(contents),
        "parameter_count": contents.parameter_count,
        "parameter_bytes": dict(contents.parameter_bytes),
        "optimizer_slot_count": contents.optimizer_slot_count,
        "shadow_count": contents.shadow_count,
    }


def architectures_table(architectures: Sequence[ArchitectureDescription]) -> Table:
    """Returns one row an architecture."""
    names = ("name", "image size", "parameters", "summary")
    table = lean_table(*names, words=names)
    for one in architectures:
        size = f"{one.image_size[0]}x{one.image_size[1]}" if one.image_size else ""
        table.add_row(
            one.name,
            size,
            ", ".join(one.parameter_schema.get("properties", {})),
            Text(f"cannot be used: {one.error}" if one.error else one.summary),
        )
    return table


def _tensor(spec: TensorSpec) -> str:
    shape = "x".join("?" if size < 0 else str(size) for size in spec.shape)
    return f"{spec.tensor_name}  ({shape} {spec.dtype})"


def _labels(labels: Sequence[str]) -> str:
    more = ["..."] if len(labels) > _SHOWN_LABELS else []
    return f"{len(labels)}: {', '.join([*labels[:_SHOWN_LABELS], *more])}"


def _verdict(report: ParityReport) -> str:
    return (
        f"{'passed' if report.passed else 'FAILED'}: largest difference {report.worst:g} in "
        f"{len(report.comparisons)} comparisons, tolerance {report.tolerance:g}"
    )


def _meta_graph_rows(report: MetaGraphReport | None) -> list[tuple[str, str]]:
    if report is None:
        return []
    rows = []
    for cut in report.inputs:
        place = f"{cut.name} takes the place of {cut.tensor_name} ({cut.kind})"
        rows.append(("cut", f"{place}; left behind: {_counts(cut.upstream)}"))
    norms = f"{report.batch_norms_switched} batch norms or statistics"
    rows.append(("switched", f"{norms}, {report.dropouts_removed} dropouts taken out"))
    rows += [("bound", f"{name} = {value}") for name, value in report.bound.items()]
    rows += [("state", f"{name}: each request begins anew") for name in report.initial_states]
    rows += [("state", f"{name}: as stored, as asked") for name in report.kept_stored]
    if report.twin:
        rows.append(("compared with", f"the evaluation copy {report.twin}"))
    return rows


def _training_graph(graph: MetaGraphContents) -> list[tuple[str, str]]:
    rows = [("training graph", f"{graph.node_count:,} nodes")]
    for one in graph.inputs[:_SHOWN]:
        shape = (
            "unknown shape"
            if one.shape is None
            else "x".join("?" if size < 0 else str(size) for size in one.shape) or "scalar"
        )
        reach = "" if one.reaches_output else ", not for the first output"
        rows.append(("  input", f"{one.tensor_name}  ({one.kind}, {shape} {one.dtype}{reach})"))
    for two in graph.outputs[:_SHOWN]:
        mode = ", in training mode" if two.training else ""
        rows.append(("  output", f"{two.tensor_name}  ({two.kind}{mode})"))
    rows.append(("  batch norms", _counts(graph.batch_norms)))
    rows.append(("  dropouts", str(graph.dropout_count)))
    rows.append(("  averaged", f"{graph.averaged_variables} variables"))
    if graph.towers:
        rows.append(("  towers", ", ".join(graph.towers)))
    for three in graph.unregistered_ops[:_SHOWN]:
        reach = "reaches the output" if three.reaches_output else "is pruned"
        rows.append(("  unknown op", f"{three.op} of {three.node}, {reach}"))
    return rows


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
