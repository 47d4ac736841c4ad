"""What every protocol of the inference port stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from inference_service.loading.operations import Operations
from inference_service.loading.store_watch import Problems
from inference_service.models.registry import Registry
from inference_service.prediction.predictor import Predictor
from service_kit.server.health import Health
from service_kit.server.open_streams import OpenStreams


@dataclass(frozen=True, slots=True)
class Core:
    """One of each, shared by all protocols.

    Attributes:
        predictor: answers.
        registry: tells what is served.
        operations: what operators ask for.
        problems: tells what keeps the server from being up to date.
        health: what `grpc.health.v1` says.
        streams: counts the open streams, and says when they have to end.
        stream_window: requests that may be in flight in one stream.
        max_message_bytes: of one message.
    """

    predictor: Predictor
    registry: Registry
    operations: Operations
    problems: Callable[[], Problems]
    health: Health
    streams: OpenStreams
    stream_window: int
    max_message_bytes: int
