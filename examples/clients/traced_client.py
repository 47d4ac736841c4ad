"""Asks in a trace of its own: `python examples/clients/traced_client.py HOST:PORT MODEL FILE`."""

from __future__ import annotations

import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from inference_service.client import InferenceClient


def main(address: str, model: str, file: str) -> None:
    """Prints the best class, and the trace to look for."""
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    with (
        InferenceClient(address, timeout=30) as client,
        trace.get_tracer("shop").start_as_current_span("order") as span,
    ):
        ((best,),) = client.predict(model, file, top=1).top
        print(f"class {best.index}, trace {span.get_span_context().trace_id:032x}")
    provider.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
