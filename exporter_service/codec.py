"""Messages of the exporter's contract <-> values. The only place that knows both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from google.protobuf import json_format

from exporter_service.architectures.architecture import Architecture
from exporter_service.checkpoint_contents import CheckpointContents
from exporter_service.conversion_order import ConversionRequest, DeviceKind
from exporter_service.progress import Progress
from pbserve.artifact.v1 import manifest_pb2
from pbserve.exporter.v1 import exporter_pb2 as pb
from service_kit import errors, manifest_codec
from service_kit.manifest import ArchitectureSpec, Manifest, MovingAverageMode, Preprocessing
from service_kit.model_name import checked_model_name

_MOST_CARDS = 64
_LARGEST_SIDE = 8192
_CHANNELS = 3
_DEVICE_KINDS: dict[int, DeviceKind] = {
    pb.DEVICE_KIND_UNSPECIFIED: "gpu",
    pb.DEVICE_KIND_GPU: "gpu",
    pb.DEVICE_KIND_CPU: "cpu",
}


def conversion_request(message: pb.ConvertCheckpointRequest) -> ConversionRequest:
    """Returns the validated request.

    Raises:
        InvalidRequest: says which field, what it holds and what is allowed.
    """
    if message.version < 0:
        raise errors.InvalidRequest(f"version is {message.version}: versions begin at 1")
    if not 0 <= message.cards <= _MOST_CARDS:
        raise errors.InvalidRequest(f"cards is {message.cards}: 1 to {_MOST_CARDS} are possible")
    if not message.architecture.name:
        raise errors.InvalidRequest("architecture has no name: ListArchitectures has them all")
    if message.device_kind not in _DEVICE_KINDS:
        raise errors.InvalidRequest(f"device_kind {message.device_kind} is not known here")
    return ConversionRequest(
        model=checked_model_name(message.model),
        version=message.version or None,
        checkpoint=message.checkpoint,
        architecture=_architecture(message.architecture),
        image_size=_image_size(message),
        cards=message.cards or 1,
        device_kind=_DEVICE_KINDS[message.device_kind],
        moving_average=_moving_average(message.moving_average),
        preprocessing=_preprocessing(message.preprocessing),
        request_id=message.request_id,
    )


def _architecture(message: manifest_pb2.ArchitectureSpec) -> ArchitectureSpec:
    try:
        return manifest_codec.architecture_from_proto(message)
    except (json_format.Error, ValueError) as error:
        raise errors.InvalidRequest(f"architecture.parameters: {error}") from error


def _image_size(message: pb.ConvertCheckpointRequest) -> tuple[int, int] | None:
    if not message.HasField("image_size"):
        return None
    size = (message.image_size.height, message.image_size.width)
    if not all(1 <= side <= _LARGEST_SIDE for side in size):
        raise errors.InvalidRequest(
            f"image_size is {size[0]}x{size[1]}: each side must be 1 to {_LARGEST_SIDE} pixels"
        )
    return size


def _moving_average(value: manifest_pb2.MovingAverageMode.ValueType) -> MovingAverageMode:
    try:
        return manifest_codec.mode_from_proto(value)
    except ValueError:
        raise errors.InvalidRequest(f"moving_average {value} is not known here") from None


def _preprocessing(message: manifest_pb2.Preprocessing) -> Preprocessing:
    return Preprocessing(
        mean=_channels("mean", message.mean), scale=_channels("scale", message.scale)
    )


def _channels(name: str, values: Sequence[float]) -> tuple[float, ...]:
    # What the graph will compute with.
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.array(values, np.float32)).all()
    if values and (len(values) != _CHANNELS or not finite):
        raise errors.InvalidRequest(
            f"preprocessing.{name} is {list(values)}: give {_CHANNELS} numbers that are finite "
            "as float32, one a channel, or none"
        )
    if name == "scale" and not all(values):
        raise errors.InvalidRequest("preprocessing.scale has a 0, which would blank its channel")
    return tuple(values)


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
        checkpoint=manifest_codec.checkpoint_to_proto(contents.checkpoint),
        shard_count=contents.shard_count,
        tensors=[
            pb.StoredTensor(key=key, dtype=tensor.dtype, shape=tensor.shape)
            for key, tensor in contents.tensors.items()
        ],
        parameter_count=contents.parameter_count,
        optimizer_slot_count=contents.optimizer_slot_count,
        shadow_count=contents.shadow_count,
        fitting_architectures=[
            manifest_codec.architecture_to_proto(spec) for spec in contents.fitting
        ],
    )


def architecture_message(architecture: Architecture) -> pb.ArchitectureDescription:
    """Returns the description of an architecture."""
    height, width = architecture.image_size
    message = pb.ArchitectureDescription(
        name=architecture.name,
        summary=architecture.summary,
        default_image_size=pb.ImageSize(height=height, width=width),
    )
    json_format.ParseDict(architecture.parameters.model_json_schema(), message.parameter_schema)
    return message
