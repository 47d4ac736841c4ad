"""Clients that people already have, unmodified, at a real server with the golden digits."""

from __future__ import annotations

import queue
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.utils.shared_memory as shm

from inference_service.client import InferenceClient
from service_kit.store.artifact_store import ArtifactStore
from tests.conftest import Converted
from tests.support.digits import GOLDEN, PARITY, expected
from tests.support.services import Service, running
from tests.support.triton import array_input

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent.parent
PEERS = ROOT / ".venv-peers" / "bin"
# Images a request, where there are several requests.
PIECE = 50


@pytest.fixture(scope="module")
def serving(
    converted_ema: Converted, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("peers")
    store = ArtifactStore(str(folder / "models"))
    store.create()
    for model in ("digits", "spare"):
        store.publish(model, converted_ema.conversion, converted_ema.path)
    with running("inference_service", "--store", store.url, log=folder / "log") as service:
        with InferenceClient(service.address) as client:
            client.wait_until_ready("digits")
            client.wait_until_ready("spare")
        yield service


def images(dtype: str = "uint8") -> Any:
    return expected()["images"].astype(dtype)


def check(probabilities: Any, first: int = 0) -> None:
    wanted = expected()["probs_ema"][first : first + len(probabilities)]
    assert probabilities.dtype == np.float32
    assert np.abs(probabilities - wanted).max() < PARITY


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_tritons_client(serving: Service, dtype: str) -> None:
    with triton.InferenceServerClient(serving.address) as client:
        for card in (0, 1):
            answer = client.infer("digits", [array_input(images(dtype))], parameters={"card": card})
            check(answer.as_numpy("probs"))
            assert answer.get_response().parameters["card"].int64_param == card


async def test_tritons_asyncio_client(serving: Service) -> None:
    async with triton_aio.InferenceServerClient(serving.address) as client:
        assert await client.is_model_ready("digits")
        check((await client.infer("digits", [array_input(images())])).as_numpy("probs"))

        async def requests() -> Any:
            for begin in range(0, len(images()), PIECE):
                piece = array_input(images()[begin : begin + PIECE])
                yield {"model_name": "digits", "inputs": [piece], "request_id": str(begin)}

        begin = 0
        async for result, error in client.stream_infer(requests()):
            assert error is None
            assert result.get_response().id == str(begin)
            check(result.as_numpy("probs"), begin)
            begin += PIECE


def test_a_stream_of_tritons_client(serving: Service) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with triton.InferenceServerClient(serving.address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number in range(len(images())):
            piece = array_input(images()[number : number + 1])
            client.async_stream_infer("digits", [piece], request_id=str(number))
        for number in range(len(images())):
            result, error = answers.get(timeout=60)
            assert error is None
            assert result.get_response().id == str(number)
            check(result.as_numpy("probs"), number)
        client.stop_stream()


def test_shared_memory_of_tritons_client(serving: Service) -> None:
    given = images("float32")
    shape = expected()["probs_ema"].shape
    size = given.nbytes + int(np.prod(shape)) * 4
    key = f"pbserve-test-{uuid.uuid4().hex}"
    handle = shm.create_shared_memory_region("r", key, size)
    try:
        with triton.InferenceServerClient(serving.address) as client:
            client.register_system_shared_memory("r", key, size)
            shm.set_shared_memory_region(handle, [given])
            tensor = triton.InferInput("input", list(given.shape), "FP32")
            tensor.set_shared_memory("r", given.nbytes)
            output = triton.InferRequestedOutput("probs")
            output.set_shared_memory("r", size - given.nbytes, given.nbytes)
            client.infer("digits", [tensor], outputs=[output])
            check(np.array(shm.get_contents_as_numpy(handle, np.float32, shape, given.nbytes)))
            client.unregister_system_shared_memory("r")
    finally:
        shm.destroy_shared_memory_region(handle)


def test_statistics_are_those_of_what_was_asked(serving: Service) -> None:
    with triton.InferenceServerClient(serving.address) as client:
        before = client.get_inference_statistics("digits").model_stats[0]
        client.infer("digits", [array_input(images()[:PIECE])])
        after = client.get_inference_statistics("digits").model_stats[0]
    assert after.inference_count - before.inference_count == PIECE
    assert after.inference_stats.success.count - before.inference_stats.success.count == 1
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns


def test_the_example_says_what_its_page_says(serving: Service) -> None:
    script = ROOT / "examples" / "clients" / "triton_client.py"
    archive = str(GOLDEN / "expected.npz")
    printed = _output([sys.executable, str(script), serving.address, "digits", archive])
    for words in (
        "digits: versions 1, tensorflow_graphdef",
        "card 1: 0.9",
        "predict: 297 images, 0.98990 right",
        "predict_stream: 297 images, 0.98990 right",
        "predict_shared: 297 images, 0.98990 right",
    ):
        assert words in printed


def test_kserves_client(serving: Service, tmp_path: Path) -> None:
    python = PEERS / "python"
    if (
        not python.exists()
        or subprocess.run(
            [python, "-c", "import kserve"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("KServe's package is not there: `make peers` installs it")
    script = Path(__file__).parent / "peers" / "kserve_predict.py"
    archive, results = GOLDEN / "expected.npz", tmp_path / "results.npz"
    names = ("digits", "spare", str(archive), str(results))
    _output([str(python), str(script), serving.address, *names])
    with np.load(results) as found:
        check(found["raw"])
        check(found["typed"])


def test_perf_analyzer(serving: Service, tmp_path: Path) -> None:
    program = PEERS / "perf_analyzer"
    if not program.exists():
        pytest.skip("perf_analyzer is not there: `make peers` installs it where it can run")
    begins = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    if "not found" in begins.stderr:
        pytest.skip(f"perf_analyzer does not run on this machine: {begins.stderr.splitlines()[0]}")
    table = tmp_path / "latencies.csv"
    options = ("-m", "digits", "-u", serving.address, "-i", "grpc", "-f", str(table))
    short = ("--measurement-interval", "1000", "--max-trials", "3", "--stability-percentage", "999")
    for more in ((), ("--streaming",), ("--shared-memory", "system")):
        printed = _output([str(program), *options, *short, *more])
        assert "Throughput" in printed
        assert table.read_text().count("\n") >= 2


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
