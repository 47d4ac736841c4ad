"""Shared memory's messages."""

from __future__ import annotations

from tritonclient.grpc import service_pb2 as pb

from inference_service.protocols.open_inference.shared_memory import SharedMemory
from inference_service.protocols.open_inference.tensors import shared_memory_is_off


def status_message(
    memory: SharedMemory | None, request: pb.SystemSharedMemoryStatusRequest
) -> pb.SystemSharedMemoryStatusResponse:
    """Returns the registered regions; raises as `SharedMemory.regions`."""
    response = pb.SystemSharedMemoryStatusResponse()
    for region in (memory or SharedMemory()).regions(request.name):
        response.regions[region.name].CopyFrom(
            pb.SystemSharedMemoryStatusResponse.RegionStatus(
                name=region.name,
                key=region.key,
                offset=region.offset,
                byte_size=region.byte_size,
            )
        )
    return response


def register(
    memory: SharedMemory | None, request: pb.SystemSharedMemoryRegisterRequest
) -> pb.SystemSharedMemoryRegisterResponse:
    """Registers a region; raises as `SharedMemory.register`.

    Raises:
        Unsupported: shared memory is not offered.
    """
    if memory is None:
        raise shared_memory_is_off()
    memory.register(request.name, request.key, request.offset, request.byte_size)
    return pb.SystemSharedMemoryRegisterResponse()
