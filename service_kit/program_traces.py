"""Traces of what a command line itself asks."""

from __future__ import annotations

import atexit
import logging
import os


def trace_program(service: str) -> None:
    """Has the calls of this program's clients traced until its end, if its environment asks so.

    Args:
        service: value of `service.name`; see `tracing_by`.
    """
    # Most programs are not traced, and need not wait for the imports.
    if not any(name.startswith("OTEL_") for name in os.environ):
        return
    from service_kit.logs import configure_logs
    from service_kit.tracing import tracing_by

    # Standard output is for results, and that all is well is no news.
    configure_logs(level=logging.WARNING)
    tracing = tracing_by(os.environ, service)
    if tracing is None:
        return
    from opentelemetry import trace

    trace.set_tracer_provider(tracing.provider)
    atexit.register(tracing.close)
