"""What do the Python clients cost over bare gRPC, and what does a token cost over TLS?

A server that answers at once, in a process of its own, so that what is measured is the wire and the
client. Rounds are interleaved; the median is printed.

    python benchmarks/clients.py [rounds]
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from inference_service.client import AsyncInferenceClient, InferenceClient, Tls, codec
from pbserve.inference.v1 import inference_pb2 as pb
from pbserve.inference.v1 import inference_pb2_grpc

CALLS, GROUPS, WINDOW = 300, 1500, 64
NAME = "serving.example"
IMAGE = np.ones((1, 2, 2, 3), np.float32)


class Constant(inference_pb2_grpc.InferenceServiceServicer):
    """Answers at once, and always the same."""

    outputs = codec.request_message("m", np.ones((1, 10), np.float32), "").inputs

    async def Predict(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802, D102
        return self._answer(request)

    async def StreamPredict(self, requests: Any, context: Any) -> Any:  # noqa: ARG002, N802, D102
        async for one in requests:
            answer = self._answer(one.request)
            yield pb.StreamPredictResponse(request_id=one.request.request_id, response=answer)

    def _answer(self, request: Any) -> pb.PredictResponse:
        return pb.PredictResponse(
            request_id=request.request_id, model="m", version=1, outputs=self.outputs
        )


async def serve(root: Path) -> None:
    """Serves on a plain and on an encrypted port until standard input ends."""
    import trustme

    authority = trustme.CA()
    made = authority.issue_cert(NAME)
    chain = b"".join(one.bytes() for one in made.cert_chain_pems)
    (root / "root.pem").write_bytes(authority.cert_pem.bytes())
    server = grpc.aio.server()
    servicer: Any = Constant()
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, server)
    credentials = grpc.ssl_server_credentials([(made.private_key_pem.bytes(), chain)])
    plain = server.add_insecure_port("127.0.0.1:0")
    secure = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    print(f"127.0.0.1:{plain} 127.0.0.1:{secure}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


def bare_stream(stub: Any) -> None:
    """What a caller would write on the stub: a window, and no second try."""
    places = threading.Semaphore(WINDOW)

    def requests() -> Iterator[pb.StreamPredictRequest]:
        for n in range(GROUPS):
            places.acquire()
            request = codec.request_message("m", IMAGE, str(n))
            yield pb.StreamPredictRequest(request=request)

    for response in stub.StreamPredict(requests()):
        codec.stream_answer(response).result()
        places.release()


def client_stream(client: InferenceClient) -> None:
    """The same with the client."""
    for answer in client.stream("m", (IMAGE for _ in range(GROUPS)), window=WINDOW):
        answer.result()


async def asyncio_stream(client: AsyncInferenceClient, groups: Any) -> None:
    """The same with the asyncio client."""
    async for answer in client.stream("m", groups, window=WINDOW):
        answer.result()


def calls(ask: Callable[[], Any]) -> None:
    """One call after the other."""
    for _ in range(CALLS):
        ask()


def with_credentials(stub: Any, token: str) -> None:
    """A token as credentials of the call, which gRPC asks a thread for."""
    credentials = grpc.access_token_call_credentials(token)
    stub.Predict(codec.request_message("m", IMAGE, ""), credentials=credentials)


def with_metadata(stub: Any, token: str) -> None:
    """A token as plain metadata."""
    metadata = (("authorization", f"Bearer {token}"),)
    stub.Predict(codec.request_message("m", IMAGE, ""), metadata=metadata)


def main(rounds: int) -> None:
    """Prints calls or groups a second."""
    root = Path(tempfile.mkdtemp())
    command = [sys.executable, __file__, "--serve", str(root)]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert server.stdout
    plain, secure = server.stdout.readline().split()
    tls = Tls(root / "root.pem", server_name=NAME)
    options = [("grpc.ssl_target_name_override", NAME)]
    loop = asyncio.new_event_loop()
    aio = AsyncInferenceClient(plain)
    client, encrypted = InferenceClient(plain), InferenceClient(secure, tls=tls)
    stub: Any = inference_pb2_grpc.InferenceServiceStub(grpc.insecure_channel(plain))
    secured: Any = inference_pb2_grpc.InferenceServiceStub(
        grpc.secure_channel(secure, tls.credentials(), options)
    )
    request = codec.request_message("m", IMAGE, "")
    what: dict[str, tuple[int, Callable[[], None]]] = {
        "call, bare": (CALLS, lambda: calls(lambda: codec.prediction(stub.Predict(request)))),
        "call, client": (CALLS, lambda: calls(lambda: client.predict("m", IMAGE))),
        "stream, bare": (GROUPS, lambda: bare_stream(stub)),
        "stream, client": (GROUPS, lambda: client_stream(client)),
        "stream, asyncio client, list": (
            GROUPS,
            lambda: loop.run_until_complete(asyncio_stream(aio, [IMAGE] * GROUPS)),
        ),
        "stream, asyncio client, generator": (
            GROUPS,
            lambda: loop.run_until_complete(asyncio_stream(aio, (IMAGE for _ in range(GROUPS)))),
        ),
        "TLS call, client": (CALLS, lambda: calls(lambda: encrypted.predict("m", IMAGE))),
        "TLS call, token in credentials": (
            CALLS,
            lambda: calls(lambda: with_credentials(secured, "secret")),
        ),
        "TLS call, token in metadata": (
            CALLS,
            lambda: calls(lambda: with_metadata(secured, "secret")),
        ),
    }
    rates: dict[str, list[float]] = {name: [] for name in what}
    for number in range(rounds + 1):
        for name, (count, run) in what.items():
            began = time.perf_counter()
            run()
            if number:
                rates[name].append(count / (time.perf_counter() - began))
    for name, found in rates.items():
        print(f"{name:36} {statistics.median(found):7.0f} /s")
    loop.run_until_complete(aio.close())
    client.close()
    encrypted.close()
    server.communicate("")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(Path(sys.argv[2])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
