"""pbserve: its clients, its version, and its wire contract in the packages below.

The stubs are generated from the `.proto` files beside them. Clients are imported when they are
first named, so that a stub costs no client: this is the one import that goes up, not down.
"""

import importlib
from typing import Any

_HOMES = {
    "AsyncExporterClient": "exporter_service.client",
    "AsyncInferenceClient": "inference_service.client",
    "ExporterClient": "exporter_service.client",
    "InferenceClient": "inference_service.client",
    "__version__": "service_kit",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
