"""The protocols of the inference port, all over one core."""

from __future__ import annotations

from typing import Any

from inference_service.core import Core
from inference_service.servicer import SERVICE_NAME, InferenceServicer
from pbserve.inference.v1 import inference_pb2_grpc


def add_protocols(server: Any, core: Core) -> list[str]:
    """Adds every protocol to a `grpc.aio` server; returns the services' full names."""
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(InferenceServicer(core), server)
    return [SERVICE_NAME]
