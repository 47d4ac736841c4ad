"""What does counting cost a request?

The same question goes to the same card through two predictors in turn, one that tells the metrics
and one that tells nobody; the engine does next to nothing. Prints the ratio of their times: the
median over the rounds, and the quartiles.

    python benchmarks/metrics_cost.py [rounds]
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

from inference_service.decoders import Decoders
from inference_service.metrics.request_metrics import RequestMetrics
from inference_service.predictor import Predictor
from inference_service.question import Question
from inference_service.registry import Loaded, Registry
from tests.support.engines import pixels
from tests.support.servables import mean_servable

REQUESTS = 300


async def seconds(predictor: Predictor) -> float:
    """Returns the seconds of one request after the other."""
    question = Question("m", {"input": pixels(1.0)})
    began = time.perf_counter()
    for _ in range(REQUESTS):
        await predictor.answer(question, 30.0)
    return (time.perf_counter() - began) / REQUESTS


async def main(rounds: int) -> None:
    """Runs the rounds and prints what they say."""
    registry = Registry()
    registry.install(Loaded(mean_servable(), "f"))
    decoders = Decoders(1)
    plain = Predictor(registry, decoders)
    counting = Predictor(registry, decoders, observers=[RequestMetrics(registry.versions)])
    ratios, times = [], []
    await seconds(plain)
    for number in range(rounds):
        # Each goes first as often as the other.
        first, second = (plain, counting) if number % 2 else (counting, plain)
        took = {id(first): await seconds(first), id(second): await seconds(second)}
        ratios.append(took[id(counting)] / took[id(plain)])
        times.append(took[id(plain)])
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"without metrics: {statistics.median(times) * 1e6:.0f} us a request")
    print(f"with / without: {middle:.3f} ({low:.3f} to {high:.3f}), {rounds} rounds")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 41))
