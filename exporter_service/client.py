"""Synchronous client of the exporter service. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter_service.checkpoint_contents import CheckpointContents, StoredTensor
from exporter_service.conversion_order import ConversionRequest
from exporter_service.progress import Step
from pbserve.artifact.v1 import manifest_pb2
from pbserve.exporter.v1 import exporter_pb2 as pb
from pbserve.exporter.v1 import exporter_pb2_grpc
from service_kit import manifest_codec
from service_kit.channel import Client, sendable, typed_errors
from service_kit.manifest import Manifest


@dataclass(frozen=True, slots=True)
class ConversionProgress:
    """A step that begins: share of the steps done (0 to 1), seconds since the request came."""

    step: Step
    fraction: float
    elapsed: float
    message: str


@dataclass(frozen=True, slots=True)
class ArchitectureDescription:
    """An architecture that can be built; `parameters` is a JSON schema."""

    name: str
    summary: str
    image_size: tuple[int, int]
    parameters: Mapping[str, Any]


class ExporterClient(Client):
    """Calls one exporter service.

    Every method raises the `PbserveError` that the service raised, or `ServerStopping` when
    the service cannot be reached.
    """

    def __init__(self, address: str) -> None:
        """Prepares a connection to `host:port`; it is made by the first call."""
        super().__init__(address)
        self._stub = exporter_pb2_grpc.ExporterServiceStub(self._channel)

    def convert(
        self, request: ConversionRequest, *, timeout: float | None = None
    ) -> Iterator[ConversionProgress | Manifest]:
        """Yields progress and, last, the manifest of the published artifact.

        Args:
            request: what to convert.
            timeout: seconds for the whole conversion; None: no limit.
        """
        with sendable():
            message = _message(request)
        with typed_errors():
            for response in self._stub.ConvertCheckpoint(message, timeout=timeout):
                if response.HasField("manifest"):
                    yield manifest_codec.from_proto(response.manifest)
                else:
                    yield _progress(response.progress)

    def inspect(self, checkpoint: str) -> CheckpointContents:
        """Returns what the checkpoint at a path holds."""
        with sendable():
            request = pb.InspectCheckpointRequest(checkpoint=checkpoint)
        with typed_errors():
            response = self._stub.InspectCheckpoint(request)
        return CheckpointContents(
            checkpoint=manifest_codec.checkpoint_from_proto(response.checkpoint),
            shard_count=response.shard_count,
            tensors={
                tensor.key: StoredTensor(tuple(tensor.shape), tensor.dtype)
                for tensor in response.tensors
            },
            fitting=tuple(
                manifest_codec.architecture_from_proto(spec)
                for spec in response.fitting_architectures
            ),
        )

    def artifacts(self, model: str = "") -> tuple[list[Manifest], Sequence[str]]:
        """Returns the manifests of a model, or of all, and a line for each unreadable one."""
        with sendable():
            request = pb.ListArtifactsRequest(model=model)
        with typed_errors():
            response = self._stub.ListArtifacts(request)
        found = [manifest_codec.from_proto(message) for message in response.artifacts]
        return found, list(response.unreadable)

    def artifact(self, model: str, version: int = 0) -> Manifest:
        """Returns one manifest; version 0 means the highest."""
        with sendable():
            request = pb.GetArtifactRequest(model=model, version=version)
        with typed_errors():
            response = self._stub.GetArtifact(request)
        return manifest_codec.from_proto(response.manifest)

    def delete(self, model: str, version: int) -> None:
        """Removes one artifact from the store."""
        with sendable():
            request = pb.DeleteArtifactRequest(model=model, version=version)
        with typed_errors():
            self._stub.DeleteArtifact(request)

    def architectures(self) -> list[ArchitectureDescription]:
        """Returns the architectures that can be built."""
        with typed_errors():
            response = self._stub.ListArchitectures(pb.ListArchitecturesRequest())
        return [
            ArchitectureDescription(
                name=message.name,
                summary=message.summary,
                image_size=(message.default_image_size.height, message.default_image_size.width),
                parameters=manifest_codec.struct_to_dict(message.parameter_schema),
            )
            for message in response.architectures
        ]


def _message(request: ConversionRequest) -> pb.ConvertCheckpointRequest:
    size = request.image_size
    return pb.ConvertCheckpointRequest(
        request_id=request.request_id,
        model=request.model,
        version=request.version or 0,
        checkpoint=request.checkpoint,
        architecture=manifest_codec.architecture_to_proto(request.architecture),
        image_size=pb.ImageSize(height=size[0], width=size[1]) if size else None,
        cards=request.cards,
        device_kind=pb.DeviceKind.Value(f"DEVICE_KIND_{request.device_kind.upper()}"),
        moving_average=manifest_codec.mode_to_proto(request.moving_average),
        preprocessing=manifest_pb2.Preprocessing(
            mean=request.preprocessing.mean, scale=request.preprocessing.scale
        ),
    )


def _progress(message: pb.ConversionProgress) -> ConversionProgress:
    name = pb.ConversionProgress.Step.Name(message.step).removeprefix("STEP_")
    return ConversionProgress(
        step=Step[name],
        fraction=message.fraction,
        elapsed=message.elapsed.ToNanoseconds() / 1e9,
        message=message.message,
    )
