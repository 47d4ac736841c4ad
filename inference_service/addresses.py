"""Where the inference service listens unless it is told otherwise."""

from __future__ import annotations

DEFAULT_ADDRESS = "127.0.0.1:8500"
DEFAULT_METRICS_ADDRESS = "127.0.0.1:9500"
