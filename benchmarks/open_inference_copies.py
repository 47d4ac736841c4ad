"""What does a message of images cost on its way through ModelInfer, and how often is it copied?

8 images of 256x256x3 uint8 in one message, to a model that computes nothing, against a bare
`grpc.aio` handler that parses the same message and answers the same bytes. Both serve from this
process and take turns; the client is another process. Memory is what Python allocates
(tracemalloc) at the peak of one request; the message's own bytes are in it on both sides.

    python benchmarks/open_inference_copies.py [rounds]
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

ROOT = Path(__file__).resolve().parent.parent
IMAGES, SIDE, CLASSES = 8, 256, 2
PIXELS = IMAGES * SIDE * SIDE * 3
REQUESTS = 100
METHOD = "/inference.GRPCInferenceService/ModelInfer"


# What Python had allocated when the model, or the bare handler, had its input.
_alive: list[int] = []


class NullEngine:
    """Answers zeros at once."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Returns probabilities."""
        _alive.append(tracemalloc.get_traced_memory()[0])
        return {"probs": np.zeros((len(inputs["input"]), CLASSES), np.float32)}

    def close(self) -> None:
        """Has nothing."""


class Bare(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Parses, and answers what it was told."""

    def __init__(self, response: pb.ModelInferResponse) -> None:
        """Answers `response`."""
        self._response = response

    async def ModelInfer(self, request: pb.ModelInferRequest, _: Any) -> pb.ModelInferResponse:  # noqa: N802 - the contract's
        """Answers."""
        assert request.model_name == "null"
        _alive.append(tracemalloc.get_traced_memory()[0])
        return self._response


def message() -> bytes:
    """Returns the request's bytes."""
    pixels = np.random.default_rng(0).integers(0, 256, PIXELS, np.uint8)
    request = pb.ModelInferRequest(model_name="null", raw_input_contents=[pixels.tobytes()])
    request.inputs.add(name="input", datatype="UINT8", shape=[IMAGES, SIDE, SIDE, 3])
    return request.SerializeToString()


def ask() -> None:
    """The client's process: asks each address on standard input as often as it says there."""
    content = message()
    calls: dict[str, Any] = {}
    for line in sys.stdin:
        address, count = line.split()
        if address not in calls:
            calls[address] = grpc.insecure_channel(address).unary_unary(METHOD)
        took = []
        for _ in range(int(count)):
            began = time.perf_counter()
            calls[address](content)
            took.append(time.perf_counter() - began)
        print(statistics.median(took), flush=True)


class Client:
    """That process."""

    def __init__(self) -> None:
        """Starts it."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, address: str, count: int) -> float:
        """Returns the median seconds of so many requests, one after the other."""
        assert self._process.stdin
        assert self._process.stdout
        print(address, count, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def end(self) -> None:
        """Ends it."""
        self._process.communicate()


def measure(client: Client, addresses: Mapping[str, str], rounds: int) -> None:
    """Prints times of interleaved rounds, then allocations."""
    wall: dict[str, list[float]] = {name: [] for name in addresses}
    busy: dict[str, list[float]] = {name: [] for name in addresses}
    for number in range(rounds + 1):
        for name, address in addresses.items():
            began = time.process_time()
            seconds = client.ask(address, REQUESTS)
            # The first round warms.
            if number:
                wall[name].append(seconds)
                busy[name].append((time.process_time() - began) / REQUESTS)
    for what, times in (("wall", wall), ("processor of the server", busy)):
        ours, bare = (statistics.median(times[name]) * 1e3 for name in ("pbserve", "bare"))
        ratios = [a / b for a, b in zip(times["pbserve"], times["bare"], strict=True)]
        print(
            f"{what}: pbserve {ours:.2f} ms, bare {bare:.2f} ms a message; ratio "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f} in "
            f"{rounds} rounds)"
        )
    for name, address in addresses.items():
        alive, peak = allocated(client, address)
        print(
            f"{name}: {alive:,} bytes of Python's alive at the input ({alive / PIXELS:.3f} times "
            f"the pixels), {peak:,} at the peak of a request ({peak / PIXELS:.3f} times)"
        )


def allocated(client: Client, address: str) -> tuple[int, int]:
    """Returns what one request has allocated when its input is there, and at most; medians."""
    tracemalloc.start()
    client.ask(address, 5)
    alive, peaks = [], []
    for _ in range(9):
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        client.ask(address, 1)
        alive.append(_alive[-1] - before)
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    return int(statistics.median(alive)), int(statistics.median(peaks))


def null_servable() -> Any:
    """Returns a loaded model with one card, which takes uint8 as it comes."""
    from inference_service.cards.batch_limit import BatchTiming
    from inference_service.cards.card_spec import CardLimits, CardSpec
    from inference_service.engine.devices import Device, Placement
    from inference_service.models.servable import LoadedModel, Servable
    from service_kit.artifacts.manifest import TensorSpec, published_as
    from tests.support.manifests import conversion, tower

    spec = TensorSpec("input", "input:0", "uint8", (-1, SIDE, SIDE, 3))
    uint8 = replace(tower(classes=CLASSES), inputs=(spec,))
    described = replace(conversion(), towers=(uint8,))
    manifest = published_as(described, "null", 1, datetime(2026, 1, 1, tzinfo=timezone.utc))
    engine: Any = NullEngine()
    card_spec = CardSpec(
        tower=uint8,
        placement=Placement(0, 0, Device("cpu", 0), ()),
        run=engine.run,
        blank={},
        timings=(BatchTiming(1, 1e-6),),
    )
    return Servable(LoadedModel(manifest, engine, (card_spec,), 0.0), lambda _: CardLimits(IMAGES))


async def run(rounds: int) -> None:
    """Serves both, and measures."""
    from inference_service.models.registry import Loaded, Registry
    from inference_service.prediction.predictor import Predictor
    from inference_service.protocols.open_inference.servicer import OpenInferenceServicer
    from inference_service.protocols.shared.core import Core
    from service_kit.address import Address
    from service_kit.server.server import Server

    servable = null_servable()
    registry = Registry()
    registry.install(Loaded(servable, ""))
    server = Server(max_message_bytes=64 * 2**20)
    parts: dict[str, Any] = dict.fromkeys(field.name for field in fields(Core))
    core = Core(**parts | {"registry": registry, "streams": server.streams, "stream_window": 64,
                           "predictor": Predictor(registry, ThreadPoolExecutor(1))})  # fmt: skip
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
        OpenInferenceServicer(core, None), server.services
    )
    address = str(await server.start(Address("127.0.0.1", 0), []))
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await channel.unary_unary(METHOD)(message())
    bare, bare_address = await serve_bare(pb.ModelInferResponse.FromString(answer))
    client = Client()
    try:
        await asyncio.to_thread(measure, client, {"pbserve": address, "bare": bare_address}, rounds)
    finally:
        client.end()
        await bare.stop(0)
        await server.drain(lame_duck_seconds=0, grace_seconds=0)
        servable.close()


async def serve_bare(response: pb.ModelInferResponse) -> tuple[Any, str]:
    """Returns the bare server and its address."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Bare(response), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--client"]:
        ask()
    else:
        # For what the tests' support makes.
        sys.path.insert(0, str(ROOT))
        asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else 9))
