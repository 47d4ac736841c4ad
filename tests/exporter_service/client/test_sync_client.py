from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status

from exporter_service.client import (
    AsyncExporterClient,
    ConversionProgress,
    ExporterClient,
    RetryPolicy,
)
from exporter_service.specs.conversion import AdoptionRequest, ConversionRequest
from exporter_service.specs.progress import Step
from pbserve import AsyncInferenceClient, InferenceClient
from pbserve.exporter.v1 import exporter_pb2 as pb
from pbserve.exporter.v1 import exporter_pb2_grpc
from service_kit import errors, status
from service_kit.artifacts import manifest_codec
from service_kit.artifacts.manifest import Manifest
from service_kit.store.artifact_store import ArtifactStore
from tests.conftest import RunningExporter
from tests.support.digits import digits_request
from tests.support.manifests import conversion, graph_file

QUICK = RetryPolicy(first_pause=0.001, longest_pause=0.002)
AWAY = errors.ServerStopping("away")


class Scripted(exporter_pb2_grpc.ExporterServiceServicer):
    """Goes away as often as `away` says, after a step, and then answers with `manifest`."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest, self.away = manifest, 0
        self.address = ""
        self.requests: list[Any] = []
        self.gate, self.ended = threading.Event(), threading.Event()
        self.gate.set()

    def _goes_away(self, request: Any, context: Any) -> None:
        self.requests.append(request)
        if len(self.requests) <= self.away:
            context.abort_with_status(rpc_status.to_status(status.to_proto(AWAY)))

    def ConvertCheckpoint(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        step = pb.ConversionProgress(step=pb.ConversionProgress.STEP_READ, fraction=0.25)
        context.add_callback(self.ended.set)
        yield pb.ConvertCheckpointResponse(progress=step)
        assert self.gate.wait(30)
        self._goes_away(request, context)
        yield pb.ConvertCheckpointResponse(manifest=manifest_codec.to_proto(self.manifest))

    def AdoptGraph(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._goes_away(request, context)
        return pb.AdoptGraphResponse(manifest=manifest_codec.to_proto(self.manifest))

    def DeleteArtifact(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._goes_away(request, context)
        return pb.DeleteArtifactResponse()


@pytest.fixture
def scripted(store: ArtifactStore, tmp_path: Path) -> Iterator[Scripted]:
    # The stubs want every rpc to be there.
    servicer = Scripted(store.publish("m", conversion(), graph_file(tmp_path)))  # type: ignore[abstract]
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    exporter_pb2_grpc.add_ExporterServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    server.stop(None).wait()


def test_a_conversion_with_an_id_survives_the_exporter(scripted: Scripted) -> None:
    scripted.away = 2
    with ExporterClient(scripted.address, retry=QUICK) as client:
        *progress, manifest = client.convert(digits_request(request_id="r1"))
    assert manifest == scripted.manifest
    steps = [one.step for one in progress if isinstance(one, ConversionProgress)]
    assert steps == [Step.READ] * 3
    assert {request.request_id for request in scripted.requests} == {"r1"}


async def test_asyncio_has_the_same(scripted: Scripted) -> None:
    scripted.away = 2
    async with AsyncExporterClient(scripted.address, retry=QUICK) as client:
        *_, manifest = [one async for one in client.convert(digits_request(request_id="r1"))]
    assert manifest == scripted.manifest
    assert len(scripted.requests) == 3


async def test_a_conversion_without_an_id_is_never_begun_twice(scripted: Scripted) -> None:
    scripted.away = 1
    with (
        ExporterClient(scripted.address, retry=QUICK) as client,
        pytest.raises(errors.ServerStopping, match="away"),
    ):
        list(client.convert(digits_request()))
    assert len(scripted.requests) == 1
    scripted.away = 2
    async with AsyncExporterClient(scripted.address, retry=QUICK) as other:
        with pytest.raises(errors.ServerStopping, match="away"):
            [one async for one in other.convert(digits_request())]
    assert len(scripted.requests) == 2


def test_an_exporter_that_dies_with_every_conversion_is_left(scripted: Scripted) -> None:
    scripted.away = 1000
    with (
        ExporterClient(scripted.address, retry=QUICK) as client,
        pytest.raises(errors.ServerStopping),
    ):
        list(client.convert(digits_request(request_id="r1")))
    assert len(scripted.requests) == QUICK.attempts


async def test_what_would_change_something_twice_is_not_repeated(scripted: Scripted) -> None:
    scripted.away = 1000
    adoption = AdoptionRequest("m", None, "frozen.pb")
    count = itertools.count(1)
    with ExporterClient(scripted.address, retry=QUICK) as client:
        for call in (lambda: client.adopt(adoption), lambda: client.delete("m", 1)):
            with pytest.raises(errors.ServerStopping):
                call()
            assert len(scripted.requests) == next(count)
    async with AsyncExporterClient(scripted.address, retry=QUICK) as other:
        for make in (lambda: other.adopt(adoption), lambda: other.delete("m", 1)):
            with pytest.raises(errors.ServerStopping):
                await make()
            assert len(scripted.requests) == next(count)


def test_leaving_a_conversion_ends_its_call(scripted: Scripted) -> None:
    scripted.gate.clear()
    with ExporterClient(scripted.address) as client:
        with contextlib.closing(client.convert(digits_request())) as events:
            assert isinstance(next(events), ConversionProgress)
        assert scripted.ended.wait(30)
    scripted.gate.set()


async def test_leaving_a_conversion_of_asyncio_ends_its_call(scripted: Scripted) -> None:
    scripted.gate.clear()
    async with AsyncExporterClient(scripted.address) as client:
        async with contextlib.aclosing(client.convert(digits_request())) as events:
            assert isinstance(await anext(events), ConversionProgress)
        assert await asyncio.to_thread(scripted.ended.wait, 30)
    scripted.gate.set()


async def test_asyncio_converts_once_for_one_id(exporter: RunningExporter) -> None:
    request = digits_request(model="asyncio", cards=1, request_id="asyncio-1")
    async with AsyncExporterClient(exporter.address) as client:
        await client.wait_until_ready(timeout=60)
        *progress, manifest = [one async for one in client.convert(request)]
        assert isinstance(manifest, Manifest)
        fractions = [one.fraction for one in progress if isinstance(one, ConversionProgress)]
        assert fractions == sorted(fractions)
        assert len(fractions) > 3
        # The same id again gives the same artifact.
        assert [one async for one in client.convert(request)] == [manifest]


async def test_asyncio_asks_what_the_other_client_asks(exporter: RunningExporter) -> None:
    store = ArtifactStore(str(exporter.store))
    graph = graph_file(exporter.store.parent)
    manifest = store.publish("asyncio-calls", conversion(), graph)
    async with AsyncExporterClient(exporter.address) as client:
        assert await client.artifact("asyncio-calls") == manifest
        assert await client.artifacts("asyncio-calls") == ([manifest], [])
        assert "densenet" in {one.name for one in await client.architectures()}
        with pytest.raises(errors.CheckpointNotFound):
            await client.inspect("ckpt_none")
        with pytest.raises(errors.ArtifactNotFound):
            await client.verify("asyncio-none")
        with pytest.raises(errors.PbserveError):
            await client.adopt(AdoptionRequest("asyncio-calls", None, "none.pb"))
        await client.delete("asyncio-calls", manifest.version)
        with pytest.raises(errors.ArtifactNotFound):
            await client.artifact("asyncio-calls")


def test_an_exporter_can_be_waited_for(exporter: RunningExporter) -> None:
    with ExporterClient(exporter.address) as client:
        client.wait_until_ready(timeout=60)
    with (
        ExporterClient("127.0.0.1:1") as nobody,
        pytest.raises(errors.DeadlineExpired, match="the server was not ready"),
    ):
        nobody.wait_until_ready(timeout=0.2)


_WRONG_PORT = (
    r"give the address of `pbserve serve` \(by default 127\.0\.0\.1:8500\): .* "
    r"pbserve\.inference\.v1\.InferenceService"
)


def test_a_client_of_the_other_service_is_told_which_address_it_wants(
    exporter: RunningExporter,
) -> None:
    with (
        InferenceClient(exporter.address) as client,
        pytest.raises(errors.Unsupported, match=_WRONG_PORT),
    ):
        client.models()


async def test_an_asyncio_client_is_told_the_same(exporter: RunningExporter) -> None:
    async with AsyncInferenceClient(exporter.address) as client:
        with pytest.raises(errors.Unsupported, match=_WRONG_PORT):
            await client.models()


@pytest.mark.parametrize(
    "request_",
    [
        digits_request(0, model="zeros"),
        digits_request(model="zeros", tolerance=0.0),
        digits_request(model="zeros", version=0),
    ],
)
def test_a_zero_is_not_taken_for_the_default(
    exporter: RunningExporter, request_: ConversionRequest
) -> None:
    with ExporterClient(exporter.address) as client:
        with pytest.raises(errors.InvalidRequest, match="above 0, or leave it out"):
            next(client.convert(request_))
        with pytest.raises(errors.InvalidRequest, match="give a tolerance above 0"):
            client.adopt(AdoptionRequest("zeros", None, "single.pb", tolerance=0.0))
