"""Clients of the inference service, synchronous and asyncio. Import no TensorFlow."""

from inference_service.client.aio_client import AsyncInferenceClient
from inference_service.client.codec import RequestOptions
from inference_service.client.results import (
    BatchTiming,
    Card,
    CardCounts,
    Model,
    Prediction,
    StreamAnswer,
    Version,
)
from inference_service.client.sync_client import InferenceClient
from inference_service.wire.scored_class import ScoredClass
from service_kit.client.retry import RetryPolicy
from service_kit.client.tls import Tls

__all__ = [
    "AsyncInferenceClient",
    "BatchTiming",
    "Card",
    "CardCounts",
    "InferenceClient",
    "Model",
    "Prediction",
    "RequestOptions",
    "RetryPolicy",
    "ScoredClass",
    "StreamAnswer",
    "Tls",
    "Version",
]
