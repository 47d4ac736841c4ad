"""Synchronous client of the exporter service. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from exporter_service import client_codec
from exporter_service.architectures.description import ArchitectureDescription
from exporter_service.checkpoint_contents import CheckpointContents
from exporter_service.conversion_order import AdoptionRequest, ConversionRequest
from exporter_service.progress import Step
from pbserve.exporter.v1 import exporter_pb2 as pb
from pbserve.exporter.v1 import exporter_pb2_grpc
from service_kit import manifest_codec
from service_kit.channel import Client, sendable, typed_errors
from service_kit.manifest import Manifest, ParityReport


@dataclass(frozen=True, slots=True)
class ConversionProgress:
    """A step that begins: share of the steps done (0 to 1), seconds since the request came."""

    step: Step
    fraction: float
    elapsed: float
    message: str


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
            message = client_codec.conversion_message(request)
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
        return client_codec.contents(response)

    def adopt(self, request: AdoptionRequest, *, timeout: float | None = None) -> Manifest:
        """Publishes an existing frozen graph and returns its manifest.

        Args:
            request: which graph, and what to call it.
            timeout: seconds for the whole adoption; None: no limit.
        """
        with sendable():
            message = client_codec.adoption_message(request)
        with typed_errors():
            response = self._stub.AdoptGraph(message, timeout=timeout)
        return manifest_codec.from_proto(response.manifest)

    def verify(self, model: str, version: int = 0) -> ParityReport:
        """Returns the report of a new check of an artifact; version 0 means the highest."""
        with sendable():
            request = pb.VerifyArtifactRequest(model=model, version=version)
        with typed_errors():
            response = self._stub.VerifyArtifact(request)
        return manifest_codec.parity_from_proto(response.parity)

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
        return [client_codec.architecture(message) for message in response.architectures]


def _progress(message: pb.ConversionProgress) -> ConversionProgress:
    name = pb.ConversionProgress.Step.Name(message.step).removeprefix("STEP_")
    return ConversionProgress(
        step=Step[name],
        fraction=message.fraction,
        elapsed=message.elapsed.ToNanoseconds() / 1e9,
        message=message.message,
    )
