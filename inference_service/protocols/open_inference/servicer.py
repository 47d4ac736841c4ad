"""gRPC edge of the Open Inference Protocol: decodes, calls, encodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from inference_service.protocols.open_inference import (
    infer_codec,
    model_codec,
    repository_codec,
    shared_memory_codec,
    statistics_codec,
)
from inference_service.protocols.open_inference.model_version import version_or_label
from inference_service.protocols.open_inference.shared_memory import SharedMemory
from inference_service.protocols.open_inference.statuses import triton_error, triton_errors
from inference_service.protocols.open_inference.stream import answer_stream
from inference_service.protocols.shared.core import Core
from service_kit import __version__, errors
from service_kit.server.health import OVERALL

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_STREAM = f"/{SERVICE_NAME}/ModelStreamInfer"
# Triton's names for what is here besides the protocol's own rpcs.
_EXTENSIONS = (
    "classification",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "schedule_policy",
    "statistics",
)
_SHARED_MEMORY = "system_shared_memory"
# Threads for what takes long; most of that holds the interpreter's lock.
_WORKERS = 2
# Calls of an asyncio server have a context class that no stub names.
_Context = Any
Value = TypeVar("Value")


class OpenInferenceServicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers `inference.GRPCInferenceService`; docs/protocols/open-inference.md says how."""

    def __init__(self, core: Core, memory: SharedMemory | None) -> None:
        """Serves `core`; `memory` has the shared memory of clients, or is None without any."""
        self._core = core
        self._memory = memory
        # Of its own, so that decoding and looks at the store do not wait for each other.
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="open-inference")

    async def ServerLive(
        self, request: pb.ServerLiveRequest, context: _Context
    ) -> pb.ServerLiveResponse:
        """Says that the server answers."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, context: _Context
    ) -> pb.ServerReadyResponse:
        """Says what health says of the whole server."""
        return pb.ServerReadyResponse(ready=self._core.health.is_serving(OVERALL))

    async def ModelReady(
        self, request: pb.ModelReadyRequest, context: _Context
    ) -> pb.ModelReadyResponse:
        """Says whether a version answers; what nobody knows is not ready, and no error."""
        version, label = version_or_label(request.version)
        try:
            with self._core.registry.lease(request.name, version, label) as servable:
                return pb.ModelReadyResponse(ready=servable.healthy)
        except (errors.NotFound, errors.ModelUnavailable):
            return pb.ModelReadyResponse(ready=False)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: _Context
    ) -> pb.ServerMetadataResponse:
        """Says who this is, and which extensions it has."""
        extensions = [*_EXTENSIONS, *([_SHARED_MEMORY] if self._memory else [])]
        return pb.ServerMetadataResponse(
            name="pbserve", version=__version__, extensions=sorted(extensions)
        )

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: _Context
    ) -> pb.ModelMetadataResponse:
        """Describes a version's tensors."""
        version, label = version_or_label(request.version)
        registry = self._core.registry
        with triton_errors(), registry.lease(request.name, version, label) as servable:
            versions = model_codec.served_versions(registry.status(request.name))
            return model_codec.metadata_message(servable, versions)

    async def ModelConfig(
        self, request: pb.ModelConfigRequest, context: _Context
    ) -> pb.ModelConfigResponse:
        """Describes how a version is served."""
        version, label = version_or_label(request.version)
        registry = self._core.registry
        with triton_errors(), registry.lease(request.name, version, label) as servable:
            status = registry.status(request.name)
            versions = model_codec.served_versions(status)
            config = model_codec.config_message(servable, versions, dict(status.labels))
            return pb.ModelConfigResponse(config=config)

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: _Context
    ) -> pb.ModelInferResponse:
        """Answers one request."""
        response = pb.ModelInferResponse()
        await self._infer(request, response, context)
        return response

    async def ModelStreamInfer(
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: _Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Answers many requests; an error belongs to its request."""
        answers = answer_stream(self._core, request_iterator, self._infer, context, _STREAM)
        try:
            async for response in answers:
                yield response
        finally:
            await answers.aclose()

    async def _infer(
        self, message: pb.ModelInferRequest, response: pb.ModelInferResponse, context: _Context
    ) -> bool:
        """Fills a response; returns whether a stream marks it as its request's last."""
        request = infer_codec.inference(message, self._memory)
        left, seconds = context.time_remaining(), request.parameters.seconds
        timed = seconds is not None and (left is None or seconds < left)
        if request.is_quick:
            inference_request = infer_codec.inference_request(request)
        else:
            inference_request = await self._beside(infer_codec.inference_request, request)
        try:
            answer = await self._core.predictor.answer(
                inference_request, seconds if timed else left, ends_by_itself=not timed
            )
        except errors.PbserveError as error:
            raise triton_error(error, timed=timed) from error
        if request.is_quick:
            infer_codec.encode_answer(request, answer, response)
        else:
            await self._beside(infer_codec.encode_answer, request, answer, response)
        return request.parameters.marks_final

    async def _beside(self, work: Callable[..., Value], *arguments: Any) -> Value:
        """Returns what `work` returns, computed beside the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, work, *arguments)

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: _Context
    ) -> pb.ModelStatisticsResponse:
        """Counts what was answered: by a version, all of a model, or everything."""
        version, label = version_or_label(request.version)
        with triton_errors():
            if request.name and request.version:
                with self._core.registry.lease(request.name, version, label) as servable:
                    found = [servable]
            else:
                found = self._served(request.name)
        return pb.ModelStatisticsResponse(
            model_stats=[
                statistics_codec.statistics_message(one, [card.status() for card in one.cards])
                for one in found
            ]
        )

    def _served(self, model: str) -> list[Any]:
        if model:
            # Raises for a model that nobody knows.
            self._core.registry.status(model)
        served = [one for one in self._core.registry.servables() if model in ("", one.model)]
        return sorted(served, key=lambda one: (one.model, one.version))

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: _Context
    ) -> pb.RepositoryIndexResponse:
        """Lists the versions that are known."""
        statuses = self._core.registry.statuses()
        return repository_codec.index_message(statuses, self._core.operations.published, request)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: _Context
    ) -> pb.RepositoryModelLoadResponse:
        """Looks at the store for a model, and returns when it is served."""
        await self._core.operations.load(*repository_codec.load_request(request))
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: _Context
    ) -> pb.RepositoryModelUnloadResponse:
        """Stops serving a model or a version of it."""
        await self._core.operations.unload(*repository_codec.unload_request(request))
        return pb.RepositoryModelUnloadResponse()

    async def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, context: _Context
    ) -> pb.SystemSharedMemoryStatusResponse:
        """Lists the registered regions."""
        return shared_memory_codec.status_message(self._memory, request)

    async def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, context: _Context
    ) -> pb.SystemSharedMemoryRegisterResponse:
        """Registers memory that a client has created on this machine."""
        return shared_memory_codec.register(self._memory, request)

    async def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, context: _Context
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """Forgets a region, or all."""
        if self._memory:
            self._memory.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    async def CudaSharedMemoryStatus(
        self, request: pb.CudaSharedMemoryStatusRequest, context: _Context
    ) -> pb.CudaSharedMemoryStatusResponse:
        """Lists nothing: no region of a GPU's memory can be registered."""
        if request.name:
            raise errors.RegionNotFound(f"there is no CUDA shared memory region {request.name!r}")
        return pb.CudaSharedMemoryStatusResponse()

    async def CudaSharedMemoryRegister(
        self, request: pb.CudaSharedMemoryRegisterRequest, context: _Context
    ) -> pb.CudaSharedMemoryRegisterResponse:
        """Refuses."""
        raise errors.Unsupported(
            "CUDA shared memory is not supported: use system shared memory, or send tensors in "
            "messages"
        )

    async def CudaSharedMemoryUnregister(
        self, request: pb.CudaSharedMemoryUnregisterRequest, context: _Context
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        """Forgets nothing, as there is nothing."""
        return pb.CudaSharedMemoryUnregisterResponse()

    async def TraceSetting(
        self, request: pb.TraceSettingRequest, context: _Context
    ) -> pb.TraceSettingResponse:
        """Refuses."""
        raise errors.Unsupported(
            "there are no trace settings: answers say their queue and compute times as parameters"
        )

    async def LogSettings(
        self, request: pb.LogSettingsRequest, context: _Context
    ) -> pb.LogSettingsResponse:
        """Refuses."""
        raise errors.Unsupported(
            "log settings cannot be changed while the server runs: see `pbserve serve --log-format`"
        )
