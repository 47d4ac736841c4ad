"""Manifest <-> `pbserve.artifact.v1.Manifest` <-> the JSON of `manifest.json`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timezone
from typing import Any

from google.protobuf import json_format, struct_pb2

from pbserve.artifact.v1 import manifest_pb2 as pb
from service_kit import errors
from service_kit.artifacts import manifest
from service_kit.artifacts.manifest_check import check_usable

# The first that knows `unbatched`, and finds the graph of such an artifact.
_GUARDED_READER = 2


def to_json(document: manifest.Manifest) -> bytes:
    """Returns the text of `manifest.json`, UTF-8."""
    text = json_format.MessageToJson(to_proto(document), preserving_proto_field_name=True)
    return text.encode() + b"\n"


def from_json(text: bytes, origin: str) -> manifest.Manifest:
    """Returns the manifest that `text` holds; `origin` names its place in errors.

    Fields of later releases are passed over.

    Raises:
        ArtifactCorrupt: it is not a manifest.
    """
    message = pb.Manifest()
    try:
        json_format.Parse(text, message, ignore_unknown_fields=True)
        _check_reader(message, origin)
        document = from_proto(message)
    # A RecursionError comes from deeply nested JSON; neither it nor any ValueError is a defect.
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise errors.ArtifactCorrupt(f"{origin} is not a manifest: {error}") from error
    check_usable(document, origin)
    return document


def _check_reader(message: pb.Manifest, origin: str) -> None:
    if message.min_reader > manifest.READER:
        raise errors.ArtifactCorrupt(
            f"upgrade pbserve: {origin} is for readers from {message.min_reader} on, and this one "
            f"is {manifest.READER}"
        )


def to_proto(document: manifest.Manifest) -> pb.Manifest:
    """Returns the manifest's message."""
    message = pb.Manifest(
        model=document.model,
        version=document.version,
        checkpoint=checkpoint_to_proto(document.checkpoint),
        architecture=architecture_to_proto(document.architecture),
        moving_average=pb.MovingAverageReport(
            mode=mode_to_proto(document.moving_average.mode),
            from_shadow=document.moving_average.from_shadow,
            from_own_key=document.moving_average.from_own_key,
            own_key_reasons=document.moving_average.own_key_reasons,
        ),
        preprocessing=preprocessing_to_proto(document.preprocessing),
        towers=[_tower_to_proto(tower) for tower in document.towers],
        parity=parity_to_proto(document.parity),
        tool_versions=document.tool_versions,
        files=[
            pb.ArtifactFile(
                file_name=file.file_name,
                size_bytes=file.size_bytes,
                sha256=file.sha256,
                kind=pb.ArtifactFileKind.Value(f"ARTIFACT_FILE_KIND_{file.kind.value}"),
            )
            for file in document.files
        ],
        warnings=document.warnings,
        meta_graph=_meta_graph_to_proto(document.meta_graph),
        class_labels=document.class_labels,
        request_id=document.request_id,
        request_sha256=document.request_sha256,
        folder=document.folder,
        unbatched=document.unbatched,
        min_reader=_GUARDED_READER if document.unbatched else 0,
    )
    graph = message.guarded_graph if document.unbatched else message.graph
    graph.file_name = document.graph.file_name
    graph.size_bytes = document.graph.size_bytes
    graph.sha256 = document.graph.sha256
    graph.node_count = document.graph.node_count
    message.created_at.FromDatetime(document.created_at)
    return message


def from_proto(message: pb.Manifest) -> manifest.Manifest:
    """Returns the manifest in a message.

    Raises:
        ValueError: an enum has a value that this release does not know.
    """
    graph = message.guarded_graph if message.HasField("guarded_graph") else message.graph
    return manifest.Manifest(
        model=message.model,
        version=message.version,
        created_at=message.created_at.ToDatetime(tzinfo=timezone.utc),
        graph=manifest.GraphFile(
            file_name=graph.file_name,
            size_bytes=graph.size_bytes,
            sha256=graph.sha256,
            node_count=graph.node_count,
        ),
        checkpoint=checkpoint_from_proto(message.checkpoint),
        architecture=architecture_from_proto(message.architecture),
        moving_average=manifest.MovingAverageReport(
            mode=mode_from_proto(message.moving_average.mode),
            from_shadow=message.moving_average.from_shadow,
            from_own_key=message.moving_average.from_own_key,
            own_key_reasons=dict(message.moving_average.own_key_reasons),
        ),
        preprocessing=preprocessing_from_proto(message.preprocessing),
        towers=tuple(_tower_from_proto(tower) for tower in message.towers),
        parity=parity_from_proto(message.parity),
        tool_versions=dict(message.tool_versions),
        files=tuple(map(_file_from_proto, message.files)),
        warnings=tuple(message.warnings),
        meta_graph=(
            _meta_graph_from_proto(message.meta_graph) if message.HasField("meta_graph") else None
        ),
        class_labels=tuple(message.class_labels),
        request_id=message.request_id,
        request_sha256=message.request_sha256,
        folder=message.folder,
        unbatched=message.unbatched,
    )


def parity_to_proto(report: manifest.ParityReport) -> pb.ParityReport:
    """Returns the message of a parity report."""
    return pb.ParityReport(
        comparisons=[
            pb.ParityComparison(
                subject=comparison.subject,
                probe=comparison.probe,
                max_absolute_difference=comparison.max_absolute_difference,
                max_relative_difference=comparison.max_relative_difference,
                allowed_difference=comparison.allowed_difference,
            )
            for comparison in report.comparisons
        ],
        tolerance=report.tolerance,
        passed=report.passed,
        not_compared=report.not_compared,
        rows_by_inference=report.rows_by_inference,
        rows_by_runs=report.rows_by_runs,
    )


def parity_from_proto(message: pb.ParityReport) -> manifest.ParityReport:
    """Returns the parity report in a message."""
    return manifest.ParityReport(
        comparisons=tuple(
            manifest.ParityComparison(
                subject=comparison.subject,
                probe=comparison.probe,
                max_absolute_difference=comparison.max_absolute_difference,
                max_relative_difference=comparison.max_relative_difference,
                # Manifests of release 0.1 allowed the tolerance itself.
                allowed_difference=comparison.allowed_difference or message.tolerance,
            )
            for comparison in message.comparisons
        ),
        tolerance=message.tolerance,
        not_compared=tuple(message.not_compared),
        rows_by_inference=tuple(message.rows_by_inference),
        rows_by_runs=tuple(message.rows_by_runs),
    )


def preprocessing_to_proto(preprocessing: manifest.Preprocessing) -> pb.Preprocessing:
    """Returns the message of a preprocessing."""
    return pb.Preprocessing(
        mean=preprocessing.mean,
        scale=preprocessing.scale,
        augmentation=pb.Augmentation.Value(f"AUGMENTATION_{preprocessing.augmentation.value}"),
    )


def preprocessing_from_proto(message: pb.Preprocessing) -> manifest.Preprocessing:
    """Returns the preprocessing in a message; an unspecified augmentation is none.

    Raises:
        ValueError: this release does not know the augmentation.
    """
    augmentation = manifest.Augmentation.NONE
    if message.augmentation != pb.AUGMENTATION_UNSPECIFIED:
        name = pb.Augmentation.Name(message.augmentation)
        augmentation = manifest.Augmentation(name.removeprefix("AUGMENTATION_"))
    return manifest.Preprocessing(
        mean=tuple(message.mean), scale=tuple(message.scale), augmentation=augmentation
    )


def _file_from_proto(message: pb.ArtifactFile) -> manifest.ArtifactFile:
    kind = manifest.ArtifactFileKind.UNSPECIFIED
    if message.kind in pb.ArtifactFileKind.values():
        name = pb.ArtifactFileKind.Name(message.kind)
        kind = manifest.ArtifactFileKind(name.removeprefix("ARTIFACT_FILE_KIND_"))
    return manifest.ArtifactFile(message.file_name, message.size_bytes, message.sha256, kind)


def _meta_graph_to_proto(report: manifest.MetaGraphReport | None) -> pb.MetaGraphReport | None:
    if report is None:
        return None
    return pb.MetaGraphReport(
        inputs=[
            pb.CutInput(
                name=cut.name, tensor_name=cut.tensor_name, kind=cut.kind, upstream=cut.upstream
            )
            for cut in report.inputs
        ],
        batch_norms_switched=report.batch_norms_switched,
        dropouts_removed=report.dropouts_removed,
        bound=report.bound,
        twin=report.twin,
        initial_states=report.initial_states,
        kept_stored=report.kept_stored,
    )


def _meta_graph_from_proto(message: pb.MetaGraphReport) -> manifest.MetaGraphReport:
    return manifest.MetaGraphReport(
        inputs=tuple(
            manifest.CutInput(cut.name, cut.tensor_name, cut.kind, dict(cut.upstream))
            for cut in message.inputs
        ),
        batch_norms_switched=message.batch_norms_switched,
        dropouts_removed=message.dropouts_removed,
        bound=dict(message.bound),
        twin=message.twin,
        initial_states=tuple(message.initial_states),
        kept_stored=tuple(message.kept_stored),
    )


def checkpoint_to_proto(origin: manifest.CheckpointOrigin) -> pb.CheckpointOrigin:
    """Returns the message of a checkpoint's origin."""
    return pb.CheckpointOrigin(
        path=origin.path,
        global_step=origin.global_step,
        format=pb.CheckpointFormat.Value(f"CHECKPOINT_FORMAT_{origin.format.value}"),
        index_sha256=origin.index_sha256,
    )


def checkpoint_from_proto(message: pb.CheckpointOrigin) -> manifest.CheckpointOrigin:
    """Returns the origin in a message."""
    name = pb.CheckpointFormat.Name(message.format)
    return manifest.CheckpointOrigin(
        path=message.path,
        global_step=message.global_step if message.HasField("global_step") else None,
        format=manifest.CheckpointFormat(name.removeprefix("CHECKPOINT_FORMAT_")),
        index_sha256=message.index_sha256,
    )


def architecture_to_proto(spec: manifest.ArchitectureSpec) -> pb.ArchitectureSpec:
    """Returns the message of an architecture."""
    message = pb.ArchitectureSpec(name=spec.name)
    message.parameters.update(dict(spec.parameters))
    return message


def architecture_from_proto(message: pb.ArchitectureSpec) -> manifest.ArchitectureSpec:
    """Returns the architecture in a message."""
    return manifest.ArchitectureSpec(message.name, struct_to_dict(message.parameters))


def struct_to_dict(struct: struct_pb2.Struct) -> Mapping[str, Any]:
    """Returns a Struct as a dict; whole numbers, which travel as doubles, become ints."""
    return {key: _whole(value) for key, value in json_format.MessageToDict(struct).items()}


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value


def mode_to_proto(mode: manifest.MovingAverageMode) -> pb.MovingAverageMode.ValueType:
    """Returns the enum value of a mode."""
    return pb.MovingAverageMode.Value(f"MOVING_AVERAGE_MODE_{mode.value}")


def mode_from_proto(value: pb.MovingAverageMode.ValueType) -> manifest.MovingAverageMode:
    """Returns the mode; unspecified means AUTO.

    Raises:
        ValueError: this release does not know the value.
    """
    if value == pb.MOVING_AVERAGE_MODE_UNSPECIFIED:
        return manifest.MovingAverageMode.AUTO
    name = pb.MovingAverageMode.Name(value)
    return manifest.MovingAverageMode(name.removeprefix("MOVING_AVERAGE_MODE_"))


def tensor_spec_to_proto(spec: manifest.TensorSpec) -> pb.TensorSpec:
    """Returns the message of a tensor spec."""
    return pb.TensorSpec(
        name=spec.name, tensor_name=spec.tensor_name, dtype=spec.dtype, shape=spec.shape
    )


def tensor_spec_from_proto(message: pb.TensorSpec) -> manifest.TensorSpec:
    """Returns the tensor spec in a message."""
    return manifest.TensorSpec(
        name=message.name,
        tensor_name=message.tensor_name,
        dtype=message.dtype,
        shape=tuple(message.shape),
    )


def _tower_to_proto(tower: manifest.Tower) -> pb.Tower:
    return pb.Tower(
        index=tower.index,
        scope=tower.scope,
        device=tower.device,
        inputs=[tensor_spec_to_proto(spec) for spec in tower.inputs],
        outputs=[tensor_spec_to_proto(spec) for spec in tower.outputs],
    )


def _tower_from_proto(message: pb.Tower) -> manifest.Tower:
    return manifest.Tower(
        index=message.index,
        scope=message.scope,
        device=message.device,
        inputs=tuple(tensor_spec_from_proto(spec) for spec in message.inputs),
        outputs=tuple(tensor_spec_from_proto(spec) for spec in message.outputs),
    )
