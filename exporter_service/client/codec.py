"""Messages of the exporter's contract <-> values, on the client's side."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf import struct_pb2

from exporter_service.architectures.description import ArchitectureDescription
from exporter_service.checkpoints.contents import CheckpointContents, StoredTensor
from exporter_service.checkpoints.graph_contents import (
    InputContents,
    MetaGraphContents,
    OutputContents,
    UnregisteredOp,
)
from exporter_service.formats.extra_format import ExtraFormat
from exporter_service.specs.conversion import (
    AdoptionRequest,
    ConversionRequest,
    DevicePins,
    ParityDemand,
)
from exporter_service.specs.probes import Probe
from pbserve.artifact.v1 import manifest_pb2
from pbserve.exporter.v1 import exporter_pb2 as pb
from service_kit import errors
from service_kit.artifacts import manifest_codec
from service_kit.artifacts.manifest import ArchitectureSpec, CheckpointOrigin
from service_kit.artifacts.message_codec import from_message, struct_to_dict, to_message


def conversion_message(request: ConversionRequest) -> pb.ConvertCheckpointRequest:
    """Returns the message of a request.

    Raises:
        InvalidRequest: a number is 0, which stands for the default on the wire.
    """
    towers, size = request.towers, request.towers.image_size
    _refuse_zeros(version=request.version, cards=towers.cards, tolerance=request.tolerance)
    return pb.ConvertCheckpointRequest(
        request_id=request.request_id,
        model=request.model,
        version=request.version or 0,
        checkpoint=request.checkpoint,
        architecture=to_message(manifest_pb2.ArchitectureSpec, request.architecture),
        image_size=pb.ImageSize(height=size[0], width=size[1]) if size else None,
        cards=towers.cards,
        device_kind=pb.DeviceKind.Value(f"DEVICE_KIND_{towers.device_kind.upper()}"),
        moving_average=manifest_codec.mode_to_proto(request.moving_average),
        preprocessing=(
            to_message(manifest_pb2.Preprocessing, request.preprocessing)
            if request.preprocessing is not None
            else None
        ),
        input_dtype=towers.input_dtype,
        free_image_size=towers.free_image_size,
        scope_prefix=towers.scope_prefix,
        input_name=towers.input_name,
        output_name=towers.output_name,
        device_pins=(
            pb.DEVICE_PINS_UNSPECIFIED
            if towers.device_pins is DevicePins.RECIPE
            else pb.DevicePins.Value(f"DEVICE_PINS_{towers.device_pins.value}")
        ),
        freezing_route=pb.FreezingRoute.Value(f"FREEZING_ROUTE_{request.freezing_route.value}"),
        keep_checkpoint=request.keep_checkpoint,
        formats=_formats(request.formats),
        key_map=[
            pb.KeyRewrite(pattern=one.pattern, replacement=one.replacement)
            for one in request.key_map
        ],
        parity=(
            pb.PARITY_DEMAND_UNSPECIFIED
            if request.parity is ParityDemand.ANY
            else pb.ParityDemand.Value(f"PARITY_DEMAND_{request.parity.value}")
        ),
        tolerance=request.tolerance,
        probe=_probe(request.probe),
        class_labels=request.class_labels,
        unbatched=request.unbatched,
    )


def adoption_message(request: AdoptionRequest) -> pb.AdoptGraphRequest:
    """Returns the message of a request.

    Raises:
        InvalidRequest: a number is 0, which stands for the default on the wire.
    """
    _refuse_zeros(version=request.version, tolerance=request.tolerance)
    parameters = struct_pb2.Struct()
    parameters.update(dict(request.parameters))
    return pb.AdoptGraphRequest(
        model=request.model,
        version=request.version or 0,
        graph=request.graph,
        inputs=request.inputs,
        outputs=request.outputs,
        formats=_formats(request.formats),
        tolerance=request.tolerance,
        probe=_probe(request.probe),
        class_labels=request.class_labels,
        unbatched=request.unbatched,
        parameters=parameters if request.parameters else None,
    )


def contents(message: pb.InspectCheckpointResponse) -> CheckpointContents:
    """Returns what a checkpoint holds."""
    return CheckpointContents(
        checkpoint=from_message(CheckpointOrigin, message.checkpoint),
        shard_count=message.shard_count,
        tensors={
            tensor.key: StoredTensor(tuple(tensor.shape), tensor.dtype)
            for tensor in message.tensors
        },
        fitting=tuple(
            from_message(ArchitectureSpec, spec) for spec in message.fitting_architectures
        ),
        meta_graph=_meta_graph(message.meta_graph) if message.HasField("meta_graph") else None,
        meta_graph_problem=message.meta_graph_problem,
    )


def architecture(message: pb.ArchitectureDescription) -> ArchitectureDescription:
    """Returns the description of an architecture."""
    size = message.default_image_size
    return ArchitectureDescription(
        name=message.name,
        summary=message.summary,
        image_size=((size.height, size.width) if message.HasField("default_image_size") else None),
        parameter_schema=struct_to_dict(message.parameter_schema),
        error=message.problem,
    )


def _refuse_zeros(**numbers: float | None) -> None:
    for name, number in numbers.items():
        if number == 0:
            raise errors.InvalidRequest(
                f"give a {name} above 0, or leave it out: on the wire, 0 stands for the default"
            )


def _formats(formats: Iterable[ExtraFormat]) -> list[pb.ExtraFormat.ValueType]:
    return [pb.ExtraFormat.Value(f"EXTRA_FORMAT_{one.value}") for one in formats]


def _probe(probe: Probe) -> list[pb.ProbeTensor]:
    return [
        pb.ProbeTensor(
            name=name,
            dtype=batch.dtype.name,
            shape=batch.shape,
            content=batch.astype(batch.dtype.newbyteorder("<")).tobytes(),
        )
        for name, batch in probe.items()
    ]


def _meta_graph(message: pb.MetaGraphContents) -> MetaGraphContents:
    return MetaGraphContents(
        node_count=message.node_count,
        inputs=tuple(
            InputContents(
                one.tensor_name,
                one.kind,
                one.dtype or None,
                None if one.unknown_rank else tuple(one.shape),
                one.reaches_output,
            )
            for one in message.inputs
        ),
        outputs=tuple(
            OutputContents(one.tensor_name, one.kind, one.training) for one in message.outputs
        ),
        batch_norms=dict(message.batch_norms),
        dropout_count=message.dropout_count,
        towers=tuple(message.towers),
        unregistered_ops=tuple(
            UnregisteredOp(one.node, one.op, one.reaches_output) for one in message.unregistered_ops
        ),
        averaged_variables=message.averaged_variables,
    )
