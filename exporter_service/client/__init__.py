"""Clients of the exporter service, synchronous and asyncio. Import no TensorFlow."""

from exporter_service.architectures.description import ArchitectureDescription
from exporter_service.checkpoints.contents import CheckpointContents
from exporter_service.client.aio_client import AsyncExporterClient
from exporter_service.client.calls import ConversionProgress
from exporter_service.client.sync_client import ExporterClient
from exporter_service.specs.conversion import AdoptionRequest, ConversionRequest
from service_kit.artifacts.manifest import Manifest, ParityReport
from service_kit.client.retry import RetryPolicy
from service_kit.client.tls import Tls

__all__ = [
    "AdoptionRequest",
    "ArchitectureDescription",
    "AsyncExporterClient",
    "CheckpointContents",
    "ConversionProgress",
    "ConversionRequest",
    "ExporterClient",
    "Manifest",
    "ParityReport",
    "RetryPolicy",
    "Tls",
]
