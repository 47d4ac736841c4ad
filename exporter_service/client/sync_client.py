"""Client of the exporter service for threads. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from typing_extensions import Unpack

from exporter_service.architectures.description import ArchitectureDescription
from exporter_service.checkpoints.contents import CheckpointContents
from exporter_service.client import calls, codec
from exporter_service.client.calls import ConversionProgress
from exporter_service.specs.conversion import AdoptionRequest, ConversionRequest
from pbserve.exporter.v1 import exporter_pb2, exporter_pb2_grpc
from service_kit import errors
from service_kit.artifacts.manifest import Manifest, ParityReport
from service_kit.client.channel import sendable, typed_errors
from service_kit.client.client import Client
from service_kit.client.client_span import client_span
from service_kit.client.connection import ConnectionOptions


class ExporterClient(Client):
    """Calls one exporter service. Threads may share it.

    Every method raises the `PbserveError` that the service raised, or `ServerStopping` when
    the service cannot be reached. What passes (UNAVAILABLE, and RESOURCE_EXHAUSTED with a time to
    wait) is tried again before that, within `timeout`: see `RetryPolicy`.
    """

    _service = exporter_pb2.DESCRIPTOR.services_by_name["ExporterService"].full_name

    def __init__(self, address: str, **options: Unpack[ConnectionOptions]) -> None:
        """Prepares a connection; it is made by the first call.

        Args:
            address: `host:port`, or a target of gRPC, as `dns:///name:port`.
            options: see `ConnectionOptions`.

        Raises:
            InvalidRequest: the address or an option cannot be what is meant.
        """
        super().__init__(address, exporter_pb2_grpc.ExporterServiceStub, **options)

    def convert(
        self, request: ConversionRequest, *, timeout: float | None = None
    ) -> Generator[ConversionProgress | Manifest, None, None]:
        """Yields progress and, last, the manifest of the published artifact.

        With a `request_id` it is tried again when the server goes away: the second try joins the
        conversion that runs, gets what it published, or begins anew, and then steps are told
        again. Closing the iterator ends a conversion that nobody else follows.

        Args:
            request: what to convert.
            timeout: seconds for the whole conversion; None: the client's.
        """
        with sendable():
            message = codec.conversion_message(request)
        attempts = self._attempts(timeout, repeatable=bool(request.request_id))
        with client_span(self._service, "ConvertCheckpoint") as span:
            while True:
                try:
                    with typed_errors(self._service):
                        call = self._call("ConvertCheckpoint", message, attempts, span)
                        try:
                            for response in call:
                                yield calls.event(response)
                        finally:
                            call.cancel()
                except errors.PbserveError as error:
                    span.failed(error)
                    self._pause(attempts.pause_after(error))
                else:
                    return

    def inspect(self, checkpoint: str, *, timeout: float | None = None) -> CheckpointContents:
        """Returns what the checkpoint at a path holds."""
        return self._run(calls.inspect(checkpoint), timeout)

    def adopt(self, request: AdoptionRequest, *, timeout: float | None = None) -> Manifest:
        """Publishes an existing frozen graph and returns its manifest. Is never tried again.

        Args:
            request: which graph, and what to call it.
            timeout: seconds for the whole adoption; None: the client's.
        """
        return self._run(calls.adopt(request), timeout)

    def verify(self, model: str, version: int = 0, *, timeout: float | None = None) -> ParityReport:
        """Returns the report of a new check of an artifact; version 0 means the highest."""
        return self._run(calls.verify(model, version), timeout)

    def artifacts(
        self, model: str = "", *, timeout: float | None = None
    ) -> tuple[list[Manifest], Sequence[str]]:
        """Returns the manifests of a model, or of all, and a line for each unreadable one.

        Args:
            model: whose; empty: all models'.
            timeout: seconds for each page of a hundred; None: the client's.
        """
        manifests: list[Manifest] = []
        lines: list[str] = []
        token = ""
        while True:
            page, unreadable, token = self._run(calls.artifacts(model, token), timeout)
            manifests += page
            lines += unreadable
            if not token:
                return manifests, lines

    def artifact(self, model: str, version: int = 0, *, timeout: float | None = None) -> Manifest:
        """Returns one manifest; version 0 means the highest."""
        return self._run(calls.artifact(model, version), timeout)

    def delete(self, model: str, version: int, *, timeout: float | None = None) -> None:
        """Removes one artifact from the store. Is never tried again."""
        self._run(calls.delete(model, version), timeout)

    def architectures(self, *, timeout: float | None = None) -> list[ArchitectureDescription]:
        """Returns the architectures that can be built."""
        return self._run(calls.architectures(), timeout)
