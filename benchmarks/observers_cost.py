"""What does it cost a request to be counted, and to be traced?

The same question goes to the same card through several predictors in turn: one that tells nobody,
one that tells the metrics, one whose traces a sampler leaves out, and one that records every trace
and throws it away; the engine does next to nothing. Prints the ratio of their times to the first:
the median over the rounds, and the quartiles.

    python benchmarks/observers_cost.py [rounds]
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from inference_service.images.decoders import Decoders
from inference_service.models.registry import Loaded, Registry
from inference_service.prediction.predictor import Predictor
from inference_service.prediction.request import InferenceRequest
from inference_service.telemetry.request_metrics import RequestMetrics
from inference_service.telemetry.request_trace import RequestTraces
from tests.support.engines import pixels
from tests.support.servables import mean_servable

REQUESTS = 300


class Nowhere(SpanExporter):
    """Takes spans and forgets them."""

    def export(self, spans: Sequence[object]) -> SpanExportResult:  # noqa: ARG002
        """Says that all is well."""
        return SpanExportResult.SUCCESS


def traced(registry: Registry, decoders: Decoders, sampler: Sampler) -> Predictor:
    """Returns a predictor whose requests are traced as a sampler says."""
    provider = TracerProvider(sampler, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    traces = RequestTraces(provider.get_tracer("benchmark"))
    return Predictor(registry, decoders, observers=[traces], begin_trace=traces.begin)


async def seconds(predictor: Predictor) -> float:
    """Returns the seconds of one request after the other."""
    request = InferenceRequest("m", {"input": pixels(1.0)})
    began = time.perf_counter()
    for _ in range(REQUESTS):
        await predictor.answer(request, 30.0)
    return (time.perf_counter() - began) / REQUESTS


async def main(rounds: int) -> None:
    """Runs the rounds and prints what they say."""
    registry = Registry()
    registry.install(Loaded(mean_servable(), "f"))
    decoders = Decoders(1)
    predictors = {
        "nothing": Predictor(registry, decoders),
        "metrics": Predictor(registry, decoders, observers=[RequestMetrics(registry.versions)]),
        "traces, left out by a sampler": traced(registry, decoders, ALWAYS_OFF),
        "traces, recorded": traced(registry, decoders, ALWAYS_ON),
    }
    names = list(predictors)
    took: dict[str, list[float]] = {name: [] for name in names}
    await seconds(predictors["nothing"])
    for number in range(rounds):
        # Each goes first as often as the others.
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            took[name].append(await seconds(predictors[name]))
    base = took["nothing"]
    print(f"nothing: {statistics.median(base) * 1e6:.0f} us a request, {rounds} rounds")
    for name in names[1:]:
        ratios = [one / plain for one, plain in zip(took[name], base, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name}: {middle:.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 41))
