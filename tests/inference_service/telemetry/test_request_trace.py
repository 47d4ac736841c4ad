from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult

from inference_service.cards.card_spec import CardLimits
from inference_service.images.decoders import Decoders
from inference_service.models.registry import Loaded, Registry
from inference_service.prediction.predictor import Predictor
from inference_service.prediction.request import InferenceRequest, InferenceResult
from inference_service.telemetry.request_trace import RequestTraces
from service_kit import errors
from tests.support.engines import MeanEngine, pixels
from tests.support.servables import mean_servable
from tests.support.spans import Spans, attributes, is_below, links, nanoseconds

WAIT = 30.0


class Bench:
    """A predictor over one model of two cards, with its spans."""

    def __init__(self) -> None:
        self.engine = MeanEngine()
        self.servable = mean_servable(
            self.engine, cards=2, version=3, limits=CardLimits(4, queue_images=10)
        )
        self.registry = Registry()
        self.registry.install(Loaded(self.servable, "f"))
        self.decoders = Decoders(1)
        self.trace(Spans())

    def trace(self, spans: Spans) -> None:
        self.spans = spans
        traces = RequestTraces(spans.tracer)
        self.predictor = Predictor(
            self.registry, self.decoders, observers=[traces], begin_trace=traces.begin
        )

    def ask(
        self,
        *values: float,
        card: int | None = 0,
        model: str = "m",
        seconds_left: float | None = None,
    ) -> asyncio.Task[InferenceResult]:
        inference_request = replace(InferenceRequest(model, {"input": pixels(*values)}), card=card)
        # No gRPC ends these calls at their deadline.
        return asyncio.create_task(
            self.predictor.answer(inference_request, seconds_left, ends_by_itself=False)
        )

    async def hold(self) -> asyncio.Task[InferenceResult]:
        """Keeps card 0 busy until `release`."""
        self.engine.gate.clear()
        first = self.ask(0)
        assert await asyncio.to_thread(self.engine.started.acquire, timeout=WAIT)
        return first

    def release(self) -> None:
        self.engine.gate.set()

    async def until(self, images: int) -> None:
        while self.servable.cards[0].status().outstanding_images != images:
            await asyncio.sleep(0)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    one = Bench()
    yield one
    one.release()
    one.decoders.close()
    one.servable.close()


async def test_a_request_has_its_waiting_its_batch_and_the_engine_below_it(bench: Bench) -> None:
    with bench.spans.tracer.start_as_current_span("call"):
        await bench.ask(1, 2, card=1)
    spans = bench.spans
    request, batch = spans.one("predict"), spans.one("batch")
    assert is_below(request, spans.one("call"))
    assert attributes(request) == {
        "pbserve.model": "m",
        "pbserve.version": 3,
        "pbserve.card": 1,
        "pbserve.images": 2,
    }
    assert is_below(batch, request)
    assert attributes(batch) == {
        "pbserve.card": 1,
        "pbserve.batch.images": 2,
        "pbserve.batch.size": 2,
    }
    for name in ("queue", "compute"):
        assert is_below(spans.one(name), request)
    assert links(spans.one("compute")) == {batch.context.span_id}
    for name in ("stack", "run", "check"):
        assert is_below(spans.one(name), batch)
    # Each begins where the one before it ends, inside the request.
    in_order = ["queue", "stack", "run", "check"]
    times = [nanoseconds(spans.one(name)) for name in in_order]
    assert [end for _, end in times[:-1]] == [began for began, _ in times[1:]]
    assert nanoseconds(batch) == (times[1][0], times[-1][1])
    # The calendar and the card's clock are read one after the other.
    assert nanoseconds(request)[0] <= times[0][0] + 1e6
    assert times[-1][1] <= nanoseconds(request)[1] + 1e6


async def test_a_batch_has_links_to_all_its_requests_and_they_to_it(bench: Bench) -> None:
    first = await bench.hold()
    others = [bench.ask(1), bench.ask(2, 3)]
    await bench.until(4)
    bench.release()
    await asyncio.gather(first, *others)
    spans = bench.spans
    shared = next(one for one in spans.all("batch") if attributes(one)["pbserve.batch.images"] == 3)
    requests = spans.all("predict")
    assert len(requests) == 3
    above = next(one for one in requests if is_below(shared, one))
    linked = [one for one in requests if one.context.span_id in links(shared)]
    assert above not in linked
    assert sorted(attributes(one)["pbserve.images"] for one in [above, *linked]) == [1, 2]  # type: ignore[type-var]
    of_it = [one for one in spans.all("compute") if links(one) == {shared.context.span_id}]
    assert sorted(attributes(one)["pbserve.images"] for one in of_it) == [1, 2]  # type: ignore[type-var]
    assert {one.parent.span_id for one in of_it if one.parent} == {
        one.context.span_id for one in (above, *linked)
    }


async def test_a_request_that_is_divided_has_every_batch(bench: Bench) -> None:
    await bench.ask(*range(6))
    spans = bench.spans
    assert [attributes(one)["pbserve.batch.images"] for one in spans.all("batch")] == [4, 2]
    assert len(spans.all("compute")) == 2
    assert len(spans.all("queue")) == 1


async def test_a_request_that_is_spread_has_both_cards(bench: Bench) -> None:
    await bench.ask(*range(8), card=None)
    for name in ("queue", "batch", "compute"):
        cards = [attributes(one)["pbserve.card"] for one in bench.spans.all(name)]
        assert sorted(cards) == [0, 1]  # type: ignore[type-var]
    assert "pbserve.card" not in attributes(bench.spans.one("predict"))


async def test_what_fails_says_so_with_its_reason(bench: Bench) -> None:
    with pytest.raises(errors.EngineFailed):
        await bench.ask(MeanEngine.poison)
    with pytest.raises(errors.ModelNotFound):
        await bench.ask(1, model="other")
    batch = bench.spans.one("batch")
    failed, unknown = bench.spans.all("predict")
    for span, reason in (
        (batch, "ENGINE_FAILED"),
        (failed, "ENGINE_FAILED"),
        (unknown, "MODEL_NOT_FOUND"),
    ):
        assert span.status.status_code is trace.StatusCode.ERROR
        assert attributes(span)["error.type"] == reason
    assert "poisoned" in str(failed.status.description)
    assert attributes(unknown)["pbserve.images"] == 0
    # What did not come about is not there.
    assert not bench.spans.all("check")


async def test_who_goes_away_is_told_from_who_runs_out_of_time(bench: Bench) -> None:
    first = await bench.hold()
    gone = bench.ask(1)
    await bench.until(2)
    gone.cancel()
    with pytest.raises(errors.DeadlineExpired):
        await bench.ask(2, seconds_left=0.02)
    bench.release()
    await asyncio.gather(first, gone, return_exceptions=True)
    reasons = [attributes(one).get("error.type") for one in bench.spans.all("predict")]
    assert reasons == ["CANCELLED", "DEADLINE_EXPIRED", None]


async def test_a_request_that_is_tried_again_alone_has_waited_once(bench: Bench) -> None:
    first = await bench.hold()
    good, bad = bench.ask(1), bench.ask(MeanEngine.poison)
    await bench.until(3)
    bench.release()
    await asyncio.gather(first, good, bad, return_exceptions=True)
    sizes = [attributes(one)["pbserve.batch.images"] for one in bench.spans.all("batch")]
    assert sizes == [1, 2, 1, 1]
    assert len(bench.spans.all("queue")) == 3
    assert len(bench.spans.all("compute")) == 5


async def test_an_answer_comes_after_the_spans_of_its_batch(bench: Bench) -> None:
    for _ in range(20):
        await bench.ask(1)
        names = [span.name for span in bench.spans.ended]
        assert names[-1] == "predict"
        assert names.count("compute") == names.count("predict")


class FailingForBatches(Sampler):
    """Somebody's own, with a defect."""

    def should_sample(
        self, parent_context: Any, trace_id: int, name: str, *_: Any, **__: Any
    ) -> SamplingResult:
        if name == "batch":
            raise RuntimeError("no sample")
        return SamplingResult(Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "fails"


async def test_a_sampler_that_fails_costs_spans_alone(bench: Bench) -> None:
    bench.trace(Spans(FailingForBatches()))
    answers = await asyncio.gather(*(bench.ask(value) for value in range(4)))
    assert [float(answer.outputs["probs"][0, 0]) for answer in answers] == [0, 1, 2, 3]
    assert bench.servable.cards[0].status().counts.failed_requests == 0
    assert len(bench.spans.all("predict")) == 4


async def test_long_words_of_callers_are_cut(bench: Bench) -> None:
    with pytest.raises(errors.ModelNotFound):
        await bench.ask(1, model="m" * 1_000_000)
    assert len(str(bench.spans.one("predict").status.description)) == 2000


async def test_who_has_waited_in_vain_has_waited(bench: Bench) -> None:
    first = await bench.hold()
    with pytest.raises(errors.DeadlineExpired):
        await bench.ask(2, seconds_left=0.02)
    (waited,) = bench.spans.all("queue")[-1:]
    request = bench.spans.one("predict")
    assert is_below(waited, request)
    assert nanoseconds(waited)[1] <= nanoseconds(request)[1] + 1e6
    bench.release()
    await first


async def test_what_is_not_sampled_costs_no_spans(bench: Bench) -> None:
    bench.trace(Spans(ALWAYS_OFF))
    traces = RequestTraces(bench.spans.tracer)
    assert traces.begin() is None
    await bench.ask(1)
    assert not bench.spans.ended
