from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection
from hashlib import sha256
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult

from service_kit import errors
from service_kit.auth.access import Access, AccessRules, Token
from service_kit.auth.roles import ALWAYS_OPEN, Role
from service_kit.server.call_guard import CallGuard, GuardedServices
from service_kit.server.call_spans import CallSpans
from service_kit.server.health import Health
from service_kit.telemetry.current_call import current_call
from tests.support.spans import Spans, attributes, is_below

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Service(grpc.GenericRpcHandler):
    """Answers, or raises what was planted; opens a span of its own, and looks at the log."""

    def __init__(self, spans: Spans, planted: Exception | None) -> None:
        self.spans = spans
        self.planted = planted
        self.logged: dict[str, Any] = {}

    async def _one(self, request: Any, context: Any) -> bytes:
        with self.spans.tracer.start_as_current_span("work"):
            self.logged = current_call.get().log_fields()
            if self.planted:
                raise self.planted
        return b""

    async def _many(self, request: Any, context: Any) -> AsyncIterator[bytes]:
        yield await self._one(request, context)

    def service(self, handler_call_details: Any) -> Any:
        return {
            "/test/unary_unary": grpc.unary_unary_rpc_method_handler(self._one),
            "/test/unary_stream": grpc.unary_stream_rpc_method_handler(self._many),
        }.get(handler_call_details.method)


class Bench:
    """A traced server with one service, and health."""

    def __init__(
        self,
        planted: Exception | None = None,
        access: Access | None = None,
        open_to_all: Collection[str] = tuple(ALWAYS_OPEN),
        tracer: trace.Tracer | None = None,
    ) -> None:
        self.spans = Spans()
        self.service = Service(self.spans, planted)
        spans = CallSpans(tracer or self.spans.tracer, open_to_all)
        guard = CallGuard(access, spans=spans)
        self.server = grpc.aio.server()
        services = GuardedServices(guard)
        self.server.add_generic_rpc_handlers((services,))
        services.add_generic_rpc_handlers((self.service,))
        self.health = Health()
        add_health: Any = health_pb2_grpc.add_HealthServicer_to_server
        add_health(self.health.servicer, services)

    @contextlib.asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield channel
        finally:
            await self.server.stop(None)

    async def call(self, kind: str, *metadata: tuple[str, str | bytes]) -> grpc.StatusCode:
        """Calls, and returns the code."""
        async with self.channel() as channel:
            rpc: Any = getattr(channel, kind)(f"/test/{kind}")
            answers = rpc(b"", metadata=metadata)
            with contextlib.suppress(grpc.aio.AioRpcError):
                if kind == "unary_unary":
                    await answers
                else:
                    async for _ in answers:
                        pass
            code: grpc.StatusCode = await answers.code()
            return code


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
async def test_a_call_is_a_span_of_its_callers_trace_with_the_work_below_it(kind: str) -> None:
    bench = Bench()
    assert await bench.call(kind, ("traceparent", PARENT)) is grpc.StatusCode.OK
    call = bench.spans.one(f"test/{kind}")
    assert call.kind is trace.SpanKind.SERVER
    assert call.parent is not None
    assert call.parent.span_id == 0xB7AD6B7169203331
    assert attributes(call) == {
        "rpc.system.name": "grpc",
        "rpc.method": f"test/{kind}",
        "rpc.response.status_code": "OK",
    }
    assert is_below(bench.spans.one("work"), call)
    assert bench.service.logged["trace"] == "0af7651916cd43dd8448eb211c80319c"


async def test_calls_of_nobodys_trace_begin_their_own() -> None:
    bench = Bench()
    await bench.call("unary_unary", ("traceparent", "nonsense"), ("traceparent-bin", b"\xff"))
    call = bench.spans.one("test/unary_unary")
    assert call.parent is None
    assert bench.service.logged["trace"] == trace.format_trace_id(call.context.trace_id)


@pytest.mark.parametrize(
    ("planted", "code", "result"),
    [
        (errors.ModelNotFound("x"), "NOT_FOUND", "UNSET"),
        (errors.QueueFull("x"), "RESOURCE_EXHAUSTED", "UNSET"),
        (errors.EngineFailed("x"), "INTERNAL", "ERROR"),
        (KeyError("defect"), "INTERNAL", "ERROR"),
        (errors.ServerStopping("x"), "UNAVAILABLE", "ERROR"),
    ],
)
async def test_only_what_is_the_servers_doing_is_an_error(
    planted: Exception, code: str, result: str
) -> None:
    bench = Bench(planted)
    assert (await bench.call("unary_unary")).name == code
    call = bench.spans.one("test/unary_unary")
    assert attributes(call)["rpc.response.status_code"] == code
    assert call.status.status_code.name == result


async def test_who_is_refused_writes_no_spans() -> None:
    rules = AccessRules([Token("web", sha256(b"secret").digest(), frozenset([Role.READ]))])
    bench = Bench(access=Access({"/test/unary_unary": Role.READ}, rules))
    code = await bench.call("unary_unary", ("traceparent", PARENT))
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert not bench.spans.ended


async def test_what_anybody_may_call_writes_no_spans() -> None:
    bench = Bench(open_to_all=["/test/unary_unary"])
    await bench.call("unary_unary", ("traceparent", PARENT))
    assert [span.name for span in bench.spans.ended] == ["work"]


async def test_a_sampler_that_fails_costs_spans_alone() -> None:
    class Failing(Sampler):
        def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
            raise RuntimeError("no sample")

        def get_description(self) -> str:
            return "fails"

    bench = Bench(tracer=Spans(Failing()).tracer)
    assert await bench.call("unary_unary") is grpc.StatusCode.OK


async def test_probes_write_no_spans() -> None:
    bench = Bench(access=Access(ALWAYS_OPEN))
    async with bench.channel() as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        await health.Check(health_pb2.HealthCheckRequest())
    assert not bench.spans.ended
