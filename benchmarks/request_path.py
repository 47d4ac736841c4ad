"""What does a request cost beside its model? A null model, against a bare handler.

Servers in processes of their own: a bare `grpc.aio` handler that answers at once, and this service
with a model of one slice. The first loads come from h2load (Debian: nghttp2-client), 4 connections
with 8 requests under way each, over the Open Inference Protocol; streams come from two processes of
Python's own client over the native one. Rounds are interleaved. Prints for each load requests a
second and microseconds of the server's processor time a request, and both as shares of the bare
handler's: medians of the rounds.

    python benchmarks/request_path.py [rounds] [requests] [label=folder of another checkout ...]
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
from tritonclient.grpc import service_pb2 as triton

from pbserve.inference.v1 import inference_pb2 as pb
from pbserve.inference.v1 import inference_pb2_grpc

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/pbserve.inference.v1.InferenceService/StreamPredict"
SHAPES = {"tiny": (1, 2, 2, 3), "image": (1, 256, 256, 3), "8 images": (8, 256, 256, 3)}
# Larger messages, fewer of them.
SHARE = {"tiny": 1, "image": 2, "8 images": 8}
STREAMS = (16, 1000)
WINDOW = 4


def infer_message(shape: tuple[int, ...]) -> bytes:
    """Returns a request of the Open Inference Protocol."""
    message = triton.ModelInferRequest(model_name="null")
    message.inputs.add(name="input", datatype="UINT8").shape.extend(shape)
    message.raw_input_contents.append(np.ones(shape, np.uint8).tobytes())
    return bytes(message.SerializeToString())


class Bare(grpc.GenericRpcHandler):
    """Answers at once, and always the same."""

    def service(self, handler_call_details: Any) -> Any:
        """See gRPC."""
        if handler_call_details.method == INFER:
            return grpc.unary_unary_rpc_method_handler(
                self._infer,
                triton.ModelInferRequest.FromString,
                triton.ModelInferResponse.SerializeToString,
            )
        return grpc.stream_stream_rpc_method_handler(
            self._stream,
            pb.StreamPredictRequest.FromString,
            pb.StreamPredictResponse.SerializeToString,
        )

    async def _infer(self, _request: Any, _context: Any) -> Any:
        response = triton.ModelInferResponse(model_name="null")
        response.outputs.add(name="probs", datatype="FP32").shape.extend([1, 2])
        response.raw_output_contents.append(bytes(8))
        return response

    async def _stream(self, requests: Any, _context: Any) -> Any:
        tensor = pb.Tensor(dtype=pb.DATA_TYPE_FLOAT32, shape=[1, 2], data=bytes(8))
        async for one in requests:
            yield pb.StreamPredictResponse(
                request_id=one.request.request_id,
                response=pb.PredictResponse(model="null", version=1, outputs={"probs": tensor}),
            )


async def serve_bare() -> None:
    """Serves until standard input ends."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Bare(),))
    print(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", flush=True)
    await server.start()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


async def ask_streams(address: str, streams: int, requests: int) -> None:
    """Asks over so many streams of one connection, a few requests under way on each."""
    image = np.ones(SHAPES["tiny"], np.uint8)
    tensor = pb.Tensor(dtype=pb.DATA_TYPE_UINT8, shape=image.shape, data=image.tobytes())
    message = pb.StreamPredictRequest(
        request=pb.PredictRequest(model="null", inputs={"input": tensor})
    )
    each = max(1, requests // streams)

    async def ask_one(stub: Any) -> None:
        call = stub.StreamPredict()
        for number in range(each + WINDOW):
            if number < each:
                await call.write(message)
            if number >= WINDOW:
                answer = await call.read()
                assert answer.response.outputs["probs"].shape == [1, 2], answer
        await call.done_writing()

    async with grpc.aio.insecure_channel(address) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        await asyncio.gather(*(ask_one(stub) for _ in range(streams)))


@dataclass(frozen=True)
class Target:
    """A server that runs."""

    name: str
    address: str
    pid: int

    @property
    def processor_seconds(self) -> float:
        """What it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def started(name: str, command: list[str], root: Path) -> Iterator[Target]:
    """Runs a server until the block ends."""
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'protos'}"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment, cwd=root
    ) as process:
        assert process.stdout is not None
        try:
            yield Target(name, process.stdout.readline().decode().split()[-1], process.pid)
        finally:
            process.terminate()


def publish_null(folder: Path) -> Path:
    """Publishes the null model as anybody would; returns the store."""
    import tensorflow.compat.v1 as tf

    from exporter_service.client import AdoptionRequest, ExporterClient
    from tests.support.services import running

    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.uint8, [None, None, None, 3], name="input")
        tf.cast(images[:, 0, 0, :2], tf.float32, name="probs")
    (folder / "null.pb").write_bytes(graph.as_graph_def().SerializeToString())
    store = folder / "store"
    options = ("--checkpoint-root", str(folder), "--store", str(store))
    with (
        running("exporter_service", *options, log=folder / "log") as service,
        ExporterClient(service.address) as exporter,
    ):
        exporter.adopt(AdoptionRequest("null", None, "null.pb"))
    return store


def answers(target: Target) -> None:
    """Waits until it answers, which is looked at once: h2load takes errors for answers."""
    with grpc.insecure_channel(target.address) as channel:
        grpc.channel_ready_future(channel).result(60)
        infer = channel.unary_unary(INFER, None, triton.ModelInferResponse.FromString)
        for _ in range(600):
            try:
                response = infer(infer_message(SHAPES["tiny"]), timeout=60)
                break
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                time.sleep(0.1)
        assert [len(one) for one in response.raw_output_contents] == [8]


def unary(target: Target, body: Path, requests: int) -> tuple[float, float]:
    """Returns requests a second, and processor seconds of the server for each."""
    command = ["h2load", "-n", str(requests), "-c", "4", "-m", "8", "-d", str(body)]
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    before = target.processor_seconds
    done = subprocess.run(
        [*command, *headers, f"http://{target.address}{INFER}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f" {requests} succeeded" in done, done
    rate = float(re.search(r"([\d.]+) req/s", done)[1])  # type: ignore[index]
    return rate, (target.processor_seconds - before) / requests


def streamed(target: Target, streams: int, requests: int) -> tuple[float, float]:
    """Returns the same for streams, of two processes; their start and connections count as well."""
    before = target.processor_seconds
    loop = asyncio.new_event_loop()
    command = [sys.executable, __file__, "ask", target.address, str(streams // 2)]
    began = loop.time()
    asked = [subprocess.Popen([*command, str(requests // 2)]) for _ in range(2)]
    assert [one.wait() for one in asked] == [0, 0]
    took = loop.time() - began
    return requests / took, (target.processor_seconds - before) / requests


def main(rounds: int, requests: int, others: dict[str, str]) -> None:
    """Runs the rounds, and prints a table."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = publish_null(folder)
        serve = [
            "-m",
            "inference_service",
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--store",
            str(store),
        ]
        serve += ["--metrics-listen", "127.0.0.1:0"]
        command = [sys.executable, str(Path(__file__).resolve()), "bare"]
        targets = [stack.enter_context(started("bare", command, ROOT))]
        for name, root in {"pbserve": str(ROOT), **others}.items():
            one = started(name, [sys.executable, *serve], Path(root))
            targets.append(stack.enter_context(one))
        for target in targets:
            answers(target)
        found: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for number in range(rounds):
            for load, shape in SHAPES.items():
                body = folder / load
                content = infer_message(shape)
                body.write_bytes(b"\0" + struct.pack(">I", len(content)) + content)
                for target in targets[:: 1 if number % 2 else -1]:
                    figures = unary(target, body, requests // SHARE[load])
                    found.setdefault((load, target.name), []).append(figures)
            for streams in STREAMS:
                for target in targets[:: 1 if number % 2 else -1]:
                    figures = streamed(target, streams, requests)
                    found.setdefault((f"{streams} streams", target.name), []).append(figures)
    print(f"{'load':14} {'server':10} {'req/s':>8} {'share':>6} {'us/req':>8} {'share':>6}")
    for (load, name), figures in found.items():
        bare = found[load, "bare"]
        rate, cost = (statistics.median(column) for column in zip(*figures, strict=True))
        rates = statistics.median(a[0] / b[0] for a, b in zip(figures, bare, strict=True))
        costs = statistics.median(b[1] / a[1] for a, b in zip(figures, bare, strict=True))
        print(f"{load:14} {name:10} {rate:8.0f} {rates:6.2f} {cost * 1e6:8.0f} {costs:6.2f}")


if __name__ == "__main__":
    if sys.argv[1:] == ["bare"]:
        asyncio.run(serve_bare())
    elif sys.argv[1:2] == ["ask"]:
        asyncio.run(ask_streams(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    else:
        numbers = [int(one) for one in sys.argv[1:] if one.isdigit()]
        rounds, requests = [*numbers, *(3, 4000)[len(numbers) :]]
        main(rounds, requests, dict(one.split("=") for one in sys.argv[1:] if "=" in one))
