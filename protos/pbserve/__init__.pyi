from exporter_service.client import AsyncExporterClient, ExporterClient
from inference_service.client import AsyncInferenceClient, InferenceClient

__all__ = [
    "AsyncExporterClient",
    "AsyncInferenceClient",
    "ExporterClient",
    "InferenceClient",
    "__version__",
]

__version__: str
