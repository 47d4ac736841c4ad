"""Traces of what a command line itself asks."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator


@contextlib.contextmanager
def traced_program(service: str) -> Iterator[None]:
    """Has the calls of this program's clients traced, if its environment asks for that.

    At the end what is left is sent, for as long as `Tracing.close` says.

    Args:
        service: value of `service.name`; see `tracing_by`.
    """
    # Most programs are not traced, and need not wait for the imports.
    if not any(name.startswith("OTEL_") for name in os.environ):
        yield
        return
    from service_kit.telemetry.logs import configure_logs
    from service_kit.telemetry.tracing import tracing_by

    # Standard output is for results, and that all is well is no news.
    configure_logs(level=logging.WARNING)
    tracing = tracing_by(os.environ, service)
    if tracing is None:
        yield
        return
    from opentelemetry import trace

    trace.set_tracer_provider(tracing.provider)
    try:
        yield
    finally:
        tracing.close()
