"""Traces to an OpenTelemetry collector, as the standard environment variables say."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from service_kit import __version__
from service_kit.telemetry import span_writing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

_log = structlog.get_logger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
# For what has not been sent when the process ends.
_LAST_SECONDS = 3.0
# They warn of headers that callers made up, and quote them.
_ABOUT_CALLERS = ("opentelemetry.trace", "opentelemetry.baggage")
# Quotes variables that it cannot read, which hold secrets.
_OF_VARIABLES = "opentelemetry.util.re"


@dataclass(frozen=True, slots=True)
class Tracing:
    """Where spans go."""

    provider: TracerProvider

    @property
    def tracer(self) -> Tracer:
        """Begins spans."""
        return self.provider.get_tracer("pbserve", __version__)

    def close(self, seconds: float = _LAST_SECONDS) -> None:
        """Sends what is left; gives up after so many seconds. Blocks for as long."""
        # Of its own: the exporter tries again and again while a collector cannot be reached.
        sending = threading.Thread(target=self.provider.shutdown, name="last-spans", daemon=True)
        sending.start()
        sending.join(seconds)


def tracing_by(environment: Mapping[str, str], service: str) -> Tracing | None:
    """Returns where spans go, or None: nobody asks for them, or it cannot be done, says the log.

    A service without its traces is worth more than none, so that nothing is raised. Besides those
    read here the SDK itself reads its variables: samplers, headers, certificates, batches, limits,
    attributes of the resource.

    Args:
        environment: variables by name. Traces are wanted with `OTEL_TRACES_EXPORTER=otlp`, or an
            `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`).
        service: value of `service.name`, where the environment has none.

    Source of the names: OpenTelemetry's specification, "Environment Variable Specification" and
    "OpenTelemetry Protocol Exporter".
    """
    if not _is_wanted(environment):
        return None
    problem = _problem(environment)
    if problem:
        _log.warning("traces_off", problem=problem)
        return None
    _say_in_our_log()
    try:
        provider = _provider(service)
    except ImportError as error:
        _log.warning("traces_off", problem=f"{error.name} is missing: pip install 'pbserve[otel]'")
        return None
    except Exception as error:
        # Whatever the SDK does not like about its variables.
        _log.warning("traces_off", problem=f"{type(error).__name__}: {error}")
        return None
    _log.info("traces_on")
    return Tracing(provider)


def _is_wanted(environment: Mapping[str, str]) -> bool:
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = _exporter(environment)
    if exporter:
        return exporter != "none"
    return any(environment.get(name, "").strip() for name in _ENDPOINTS)


def _exporter(environment: Mapping[str, str]) -> str:
    return environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()


def _problem(environment: Mapping[str, str]) -> str:
    exporter = _exporter(environment)
    if exporter and "otlp" not in exporter.replace(" ", "").split(","):
        return f"OTEL_TRACES_EXPORTER={exporter}: otlp is the only one here"
    if any("@" in environment.get(name, "") for name in _ENDPOINTS):
        # It would be quoted wherever the collector cannot be reached.
        return "the endpoint has a password; OTEL_EXPORTER_OTLP_HEADERS is for secrets"
    names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    for name in names:
        protocol = environment.get(name, "").strip().lower()
        if protocol not in ("", "grpc"):
            return (
                f"{name}={protocol}: traces go over grpc here; set "
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc and the collector's port for that (4317)"
            )
        if protocol:
            break
    return ""


class _OurLog(logging.Handler):
    """What the SDK says, that a collector is away for example, as lines like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            words = (
                "a variable with headers is not name=value,name=value"
                if record.name == _OF_VARIABLES
                else record.getMessage()
            )
            level = logging.ERROR if record.levelno >= logging.ERROR else logging.WARNING
            _log.log(level, "opentelemetry", message=words, exc_info=record.exc_info or None)
        except Exception:
            # As every handler of the library: who logs goes on.
            self.handleError(record)


def _say_in_our_log() -> None:
    for name in ("opentelemetry", span_writing.__name__):
        theirs = logging.getLogger(name)
        theirs.propagate = False
        theirs.handlers[:] = [_OurLog(logging.WARNING)]
    for name in _ABOUT_CALLERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _provider(service: str) -> TracerProvider:
    # Loads the propagators that the environment names, and raises when one is not there.
    from opentelemetry import propagate  # noqa: F401
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ours = {"service.name": service, "service.version": __version__}
    # What the environment says counts for more.
    resource = Resource.create(ours).merge(OTELResourceDetector().detect())
    # At the exit of the process it would wait for as long as a collector cannot be reached.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
