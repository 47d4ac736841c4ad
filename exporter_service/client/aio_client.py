"""Asyncio client of the exporter service. Imports no TensorFlow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from typing_extensions import Unpack

from exporter_service.architectures.description import ArchitectureDescription
from exporter_service.checkpoints.contents import CheckpointContents
from exporter_service.client import calls, codec
from exporter_service.client.calls import ConversionProgress
from exporter_service.specs.conversion import AdoptionRequest, ConversionRequest
from pbserve.exporter.v1 import exporter_pb2, exporter_pb2_grpc
from service_kit import errors
from service_kit.artifacts.manifest import Manifest, ParityReport
from service_kit.client.aio_client import AsyncClient
from service_kit.client.channel import sendable, typed_errors
from service_kit.client.client_span import client_span
from service_kit.client.connection import ConnectionOptions


class AsyncExporterClient(AsyncClient):
    """As `ExporterClient`, for asyncio: the same methods, awaited, with the same errors.

    Belongs to the event loop of its first call.
    """

    _service = exporter_pb2.DESCRIPTOR.services_by_name["ExporterService"].full_name

    def __init__(self, address: str, **options: Unpack[ConnectionOptions]) -> None:
        """Prepares a connection; it is made by the first call. See `ExporterClient`."""
        super().__init__(address, exporter_pb2_grpc.ExporterServiceStub, **options)

    async def convert(
        self, request: ConversionRequest, *, timeout: float | None = None
    ) -> AsyncGenerator[ConversionProgress | Manifest, None]:
        """Yields progress and, last, the manifest. See `ExporterClient.convert`.

        Who leaves the iterator before its end closes it with `contextlib.aclosing`.
        """
        with sendable():
            message = codec.conversion_message(request)
        attempts = self._attempts(timeout, repeatable=bool(request.request_id))
        with client_span(self._service, "ConvertCheckpoint") as span:
            while True:
                try:
                    with typed_errors(self._service):
                        call = await self._call("ConvertCheckpoint", message, attempts, span)
                        try:
                            async for response in call:
                                yield calls.event(response)
                        finally:
                            call.cancel()
                except errors.PbserveError as error:
                    span.failed(error)
                    pause = attempts.pause_after(error)
                else:
                    return
                await asyncio.sleep(pause)

    async def inspect(self, checkpoint: str, *, timeout: float | None = None) -> CheckpointContents:
        """Returns what the checkpoint at a path holds."""
        return await self._run(calls.inspect(checkpoint), timeout)

    async def adopt(self, request: AdoptionRequest, *, timeout: float | None = None) -> Manifest:
        """Publishes an existing frozen graph and returns its manifest. Is never tried again."""
        return await self._run(calls.adopt(request), timeout)

    async def verify(
        self, model: str, version: int = 0, *, timeout: float | None = None
    ) -> ParityReport:
        """Returns the report of a new check of an artifact; version 0 means the highest."""
        return await self._run(calls.verify(model, version), timeout)

    async def artifacts(
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
            page, unreadable, token = await self._run(calls.artifacts(model, token), timeout)
            manifests += page
            lines += unreadable
            if not token:
                return manifests, lines

    async def artifact(
        self, model: str, version: int = 0, *, timeout: float | None = None
    ) -> Manifest:
        """Returns one manifest; version 0 means the highest."""
        return await self._run(calls.artifact(model, version), timeout)

    async def delete(self, model: str, version: int, *, timeout: float | None = None) -> None:
        """Removes one artifact from the store. Is never tried again."""
        await self._run(calls.delete(model, version), timeout)

    async def architectures(self, *, timeout: float | None = None) -> list[ArchitectureDescription]:
        """Returns the architectures that can be built."""
        return await self._run(calls.architectures(), timeout)
