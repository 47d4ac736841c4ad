"""Both services, both command lines and an example, traced into one collector."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from inference_service.client import InferenceClient
from tests.support.collector import Collector, Span, collecting
from tests.support.digits import GOLDEN, expected
from tests.support.services import running

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "operate" / "traces.md"
ROW = re.compile(r"(?m)^\| (`.*?) \|")
NAME = re.compile(r"`([\w./]+)`")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
CONVERT = "pbserve.exporter.v1.ExporterService/ConvertCheckpoint"
PREDICT = "pbserve.inference.v1.InferenceService/Predict"
STREAM = "pbserve.inference.v1.InferenceService/StreamPredict"
STEPS = ("start", "read", "build", "restore", "freeze", "check", "publish")
IMAGES = 5
# An environment asks for no free port of its own.
PORTS = {"PBSERVE_LISTEN": "127.0.0.1:0", "PBEXPORT_LISTEN": "127.0.0.1:0"}


def ran(*words: str, environment: Mapping[str, str]) -> str:
    """Runs Python, and returns what it prints."""
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # That a program is traced is no news.
    assert "traces_" not in done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True)
class Traced:
    """What was written while a digit model was converted and asked."""

    spans: list[Span]
    # By the example.
    printed: str
    log: str

    def named(self, name: str, service: str) -> Span:
        (found,) = (one for one in self.spans if (one.name, one.service) == (name, service))
        return found

    def below(self, above: Span) -> list[Span]:
        return [one for one in self.spans if (one.parent, one.trace) == (above.id, above.trace)]

    def names_below(self, above: Span) -> set[str]:
        return {one.name for one in self.below(above)}


def convert(collector: Collector, store: tuple[str, str], log: Path) -> None:
    environment = collector.environment
    options = (*store, "--checkpoint-root", str(GOLDEN))
    with running(
        "exporter_service", *options, log=log, environment={**environment, **PORTS}
    ) as exporter:
        ran(
            *("-m", "exporter_service", "convert", "digits", "--address", exporter.address),
            *("--architecture", "META_GRAPH", "--checkpoint", "ckpt_ema"),
            environment=environment,
        )


def ask(collector: Collector, store: tuple[str, str], folder: Path) -> str:
    environment = collector.environment
    images = expected()["images"]
    np.savez(folder / "images.npz", images=images[:IMAGES])
    Image.fromarray(images[0].astype(np.uint8)).save(folder / "image.png")
    options = (*store, "--access-log-every", "1")
    with running(
        "inference_service", *options, log=folder / "log", environment={**environment, **PORTS}
    ) as inference:
        with InferenceClient(inference.address) as client:
            client.wait_until_ready("digits")
        with grpc.insecure_channel(inference.address) as channel:
            # Anybody may, and could fill the traces.
            live: Any = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
            assert live(b"", metadata=[("traceparent", f"00-{'a' * 32}-{'b' * 16}-01")])
        ran(
            *("-m", "inference_service", "predict", "digits", "--address", inference.address),
            *("--npz", str(folder / "images.npz")),
            environment=environment,
        )
        return ran(
            str(ROOT / "examples" / "clients" / "traced_client.py"),
            *(inference.address, "digits", str(folder / "image.png")),
            environment=environment,
        )


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    folder = tmp_path_factory.mktemp("traces")
    store = ("--store", str(folder / "models"))
    with collecting() as collector:
        convert(collector, store, folder / "exporter.log")
        printed = ask(collector, store, folder)
        # Every program has ended, and with that sent everything.
        return Traced(list(collector.spans), printed, COLOURS.sub("", (folder / "log").read_text()))


def test_a_conversion_is_traced_from_the_command_line_through_its_steps(traced: Traced) -> None:
    (served,) = traced.below(traced.named(CONVERT, "pbexport-cli"))
    assert (served.name, served.service) == (CONVERT, "pbexport")
    (conversion,) = traced.below(served)
    assert conversion.name == "convert"
    assert conversion.attributes == {"pbserve.model": "digits"}
    steps = sorted(traced.below(conversion), key=lambda span: span.began)
    assert [step.name for step in steps if step.name != "queued"] == list(STEPS)


def test_a_stream_is_traced_request_by_request_to_the_batches(traced: Traced) -> None:
    asked = traced.named(STREAM, "pbserve-cli")
    (served,) = traced.below(asked)
    assert (served.name, served.service) == (STREAM, "pbserve")
    requests = traced.below(served)
    assert [one.name for one in requests] == ["predict"] * IMAGES
    batches = {one.id: one for one in traced.spans if one.name == "batch"}
    for request in requests:
        assert {"queue", "compute"} <= traced.names_below(request)
        (computed,) = (one for one in traced.below(request) if one.name == "compute")
        (batch,) = (batches[link] for link in computed.links)
        assert batch.parent == request.id or request.id in batch.links
        assert traced.names_below(batch) == {"stack", "run", "check"}
        assert asked.began <= request.began <= computed.ended <= request.ended <= asked.ended


def test_a_programs_own_trace_leads_to_the_batch_and_into_the_log(traced: Traced) -> None:
    order = traced.named("order", "shop")
    assert traced.printed.split() == ["class", "2,", "trace", order.trace.hex()]
    (asked,) = traced.below(order)
    assert (asked.name, asked.service) == (PREDICT, "shop")
    (served,) = traced.below(asked)
    (request,) = traced.below(served)
    assert traced.names_below(request) == {"queue", "compute", "batch"}
    assert f"trace={order.trace.hex()}" in traced.log


def test_the_page_lists_what_is_written(traced: Traced) -> None:
    assert not any(span.is_error for span in traced.spans)
    assert not any("ServerLive" in span.name for span in traced.spans)
    listed = {name for row in ROW.findall(PAGE.read_text()) for name in NAME.findall(row)}
    listed = {name for name in listed if not name.startswith("pbserve.")}
    # Besides those of calls, and the example's own.
    written = {span.name for span in traced.spans if not span.name.startswith("pbserve.")}
    assert written - {"order"} == listed - {"adopt", "format", "queued"} | written & {"queued"}


def test_a_collector_that_is_away_costs_spans_alone(tmp_path: Path) -> None:
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **PORTS}
    log = tmp_path / "log"
    options = ("--store", str(tmp_path / "models"))
    with running("inference_service", *options, log=log, environment=nowhere) as service:
        with InferenceClient(service.address) as client:
            assert client.models() == []
        service.process.terminate()
        assert service.process.wait(60) == 0
    text = log.read_text()
    assert "traces_on" in text
    assert "Traceback" not in text
