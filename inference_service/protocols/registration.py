"""The protocols of the inference port, all over one core."""

from __future__ import annotations

from typing import Any

from tritonclient.grpc import service_pb2_grpc as open_inference_pb2_grpc

from inference_service.protocols.native.servicer import SERVICE_NAME, InferenceServicer
from inference_service.protocols.open_inference.servicer import SERVICE_NAME as OPEN_INFERENCE
from inference_service.protocols.open_inference.servicer import OpenInferenceServicer
from inference_service.protocols.open_inference.shared_memory import SharedMemory
from inference_service.protocols.shared.core import Core
from inference_service.protocols.tensorflow_serving.protocol import add_to_server
from pbserve.inference.v1 import inference_pb2_grpc
from service_kit.tensorflow_messages import POOL

# Of messages that are not in Python's own pool.
DESCRIPTOR_POOLS = (POOL,)


def add_protocols(server: Any, core: Core, *, shared_memory: bool = False) -> list[str]:
    """Adds every protocol to a `grpc.aio` server; returns the services' full names.

    Args:
        server: not started yet.
        core: answers.
        shared_memory: whether clients may register shared memory, which makes sense for those on
            this machine, and lets all who can call read and write what the server's user can.
    """
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(InferenceServicer(core), server)
    open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
        OpenInferenceServicer(core, SharedMemory() if shared_memory else None), server
    )
    return [SERVICE_NAME, OPEN_INFERENCE, *add_to_server(server, core)]
