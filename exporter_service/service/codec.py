"""Messages of the exporter's contract <-> values, on the service's side.

With `request_codec` the only place that knows both.
"""

from __future__ import annotations

from google.protobuf import json_format

from exporter_service.architectures.description import ArchitectureDescription
from exporter_service.checkpoints.contents import CheckpointContents
from exporter_service.checkpoints.graph_contents import MetaGraphContents
from exporter_service.specs.progress import Progress
from pbserve.artifact.v1 import manifest_pb2
from pbserve.exporter.v1 import exporter_pb2 as pb
from service_kit.artifacts import manifest_codec
from service_kit.artifacts.manifest import Manifest
from service_kit.artifacts.message_codec import to_message


def event_message(event: Progress | Manifest, elapsed: float) -> pb.ConvertCheckpointResponse:
    """Returns the response for an event, `elapsed` seconds after the request came."""
    if isinstance(event, Manifest):
        return pb.ConvertCheckpointResponse(manifest=manifest_codec.to_proto(event))
    progress = pb.ConversionProgress(
        step=pb.ConversionProgress.Step.Value(f"STEP_{event.step.name}"),
        fraction=event.step.fraction,
        message=event.message,
    )
    progress.elapsed.FromNanoseconds(round(elapsed * 1e9))
    return pb.ConvertCheckpointResponse(progress=progress)


def contents_message(contents: CheckpointContents) -> pb.InspectCheckpointResponse:
    """Returns the response that describes a checkpoint."""
    return pb.InspectCheckpointResponse(
        checkpoint=to_message(manifest_pb2.CheckpointOrigin, contents.checkpoint),
        shard_count=contents.shard_count,
        tensors=[
            pb.StoredTensor(key=key, dtype=tensor.dtype, shape=tensor.shape)
            for key, tensor in contents.tensors.items()
        ],
        parameter_count=contents.parameter_count,
        parameter_bytes=sum(contents.parameter_bytes.values()),
        optimizer_slot_count=contents.optimizer_slot_count,
        shadow_count=contents.shadow_count,
        fitting_architectures=[
            to_message(manifest_pb2.ArchitectureSpec, spec) for spec in contents.fitting
        ],
        meta_graph=_meta_graph_message(contents.meta_graph),
        meta_graph_problem=contents.meta_graph_problem,
    )


def architecture_message(described: ArchitectureDescription) -> pb.ArchitectureDescription:
    """Returns the description of an architecture."""
    message = pb.ArchitectureDescription(
        name=described.name, summary=described.summary, problem=described.error
    )
    if described.image_size:
        message.default_image_size.height, message.default_image_size.width = described.image_size
    json_format.ParseDict(dict(described.parameter_schema), message.parameter_schema)
    return message


def _meta_graph_message(contents: MetaGraphContents | None) -> pb.MetaGraphContents | None:
    if contents is None:
        return None
    return pb.MetaGraphContents(
        node_count=contents.node_count,
        inputs=[
            pb.MetaGraphInput(
                tensor_name=one.tensor_name,
                kind=one.kind,
                dtype=one.dtype or "",
                shape=one.shape or (),
                unknown_rank=one.shape is None,
                reaches_output=one.reaches_output,
            )
            for one in contents.inputs
        ],
        outputs=[
            pb.MetaGraphOutput(tensor_name=one.tensor_name, kind=one.kind, training=one.training)
            for one in contents.outputs
        ],
        batch_norms=contents.batch_norms,
        dropout_count=contents.dropout_count,
        towers=contents.towers,
        unregistered_ops=[
            pb.UnregisteredOp(node=one.node, op=one.op, reaches_output=one.reaches_output)
            for one in contents.unregistered_ops
        ],
        averaged_variables=contents.averaged_variables,
    )
