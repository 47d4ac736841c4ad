"""gRPC edge of the exporter: decodes, calls, encodes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from exporter_service.service import codec, request_codec
from exporter_service.service.caller_limit import CallerLimit
from exporter_service.service.exporter import Exporter
from pbserve.exporter.v1 import exporter_pb2 as pb
from pbserve.exporter.v1 import exporter_pb2_grpc
from service_kit.artifacts import manifest_codec
from service_kit.telemetry.audit import audited
from service_kit.telemetry.current_call import current_call

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ExporterService"].full_name
# Calls of an asyncio server have another context class than the stubs' union can name.
_Context = Any


class ExporterServicer(exporter_pb2_grpc.ExporterServiceServicer):
    """Answers `pbserve.exporter.v1.ExporterService`; the contract says what each rpc does."""

    def __init__(
        self,
        exporter: Exporter,
        *,
        caller_conversions: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serves `exporter`.

        Args:
            exporter: answers.
            caller_conversions: that one caller may have at a time; None: any number.
            clock: seconds, for the progress events.
        """
        self._exporter = exporter
        self._limit = CallerLimit(caller_conversions)
        self._clock = clock

    async def ConvertCheckpoint(
        self, request: pb.ConvertCheckpointRequest, context: _Context
    ) -> AsyncIterator[pb.ConvertCheckpointResponse]:
        """Streams progress and the manifest."""
        began = self._clock()
        with (
            audited("convert", model=request.model, checkpoint=request.checkpoint),
            self._limit.place(current_call.get().caller),
        ):
            events = self._exporter.convert(request_codec.conversion_request(request))
            async with contextlib.aclosing(events):
                async for event in events:
                    yield codec.event_message(event, self._clock() - began)

    async def InspectCheckpoint(
        self, request: pb.InspectCheckpointRequest, context: _Context
    ) -> pb.InspectCheckpointResponse:
        """Describes a checkpoint."""
        return codec.contents_message(await self._exporter.inspect(request.checkpoint))

    async def VerifyArtifact(
        self, request: pb.VerifyArtifactRequest, context: _Context
    ) -> pb.VerifyArtifactResponse:
        """Runs the check of an artifact again."""
        report = await self._exporter.verify(request.model, request.version)
        return pb.VerifyArtifactResponse(parity=manifest_codec.parity_to_proto(report))

    async def AdoptGraph(
        self, request: pb.AdoptGraphRequest, context: _Context
    ) -> pb.AdoptGraphResponse:
        """Publishes an existing frozen graph."""
        with (
            audited("adopt", model=request.model, graph=request.graph),
            self._limit.place(current_call.get().caller),
        ):
            manifest = await self._exporter.adopt(request_codec.adoption_request(request))
        return pb.AdoptGraphResponse(manifest=manifest_codec.to_proto(manifest))

    async def ListArtifacts(
        self, request: pb.ListArtifactsRequest, context: _Context
    ) -> pb.ListArtifactsResponse:
        """Lists manifests, page by page."""
        page = await self._exporter.artifacts(request.model, request.page_token, request.page_size)
        return pb.ListArtifactsResponse(
            artifacts=[manifest_codec.to_proto(manifest) for manifest in page.manifests],
            unreadable=page.unreadable,
            next_page_token=page.next_token,
        )

    async def GetArtifact(
        self, request: pb.GetArtifactRequest, context: _Context
    ) -> pb.GetArtifactResponse:
        """Returns one manifest."""
        manifest = await self._exporter.artifact(request.model, request.version)
        return pb.GetArtifactResponse(manifest=manifest_codec.to_proto(manifest))

    async def DeleteArtifact(
        self, request: pb.DeleteArtifactRequest, context: _Context
    ) -> pb.DeleteArtifactResponse:
        """Removes one artifact."""
        with audited("delete", model=request.model, version=request.version):
            await self._exporter.delete(request.model, request.version)
        return pb.DeleteArtifactResponse()

    async def ListArchitectures(
        self, request: pb.ListArchitecturesRequest, context: _Context
    ) -> pb.ListArchitecturesResponse:
        """Lists what can be built."""
        return pb.ListArchitecturesResponse(
            architectures=[
                codec.architecture_message(architecture)
                for architecture in await self._exporter.architectures()
            ]
        )
