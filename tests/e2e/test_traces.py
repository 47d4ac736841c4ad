"""Both services and both command lines, traced into one collector."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from inference_service.client import InferenceClient
from tests.support.collector import Span, collecting
from tests.support.digits import GOLDEN, expected
from tests.support.services import running

pytestmark = pytest.mark.slow

STEPS = ("start", "read", "build", "restore", "freeze", "check", "publish")
IMAGES = 5


def command(package: str, *words: str, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", package, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def below(spans: list[Span], above: Span) -> list[Span]:
    return [span for span in spans if span.parent == above.id and span.trace == above.trace]


def named(spans: list[Span], name: str, service: str) -> Span:
    (found,) = (one for one in spans if (one.name, one.service) == (name, service))
    return found


def test_traces_lead_from_the_client_to_the_engine_and_through_the_steps(tmp_path: Path) -> None:
    store = ("--store", str(tmp_path / "models"))
    np.savez(tmp_path / "images.npz", images=expected()["images"][:IMAGES])
    log, exporter_log = tmp_path / "log", tmp_path / "exporter.log"
    with collecting() as collector:
        traced = collector.environment
        # An environment asks for no free port of its own.
        ports = {"PBSERVE_LISTEN": "127.0.0.1:0", "PBEXPORT_LISTEN": "127.0.0.1:0"}
        root = ("--checkpoint-root", str(GOLDEN))
        with running(
            "exporter_service", *store, *root, log=exporter_log, environment={**traced, **ports}
        ) as exporter:
            command(
                "exporter_service",
                *("convert", "digits", "--checkpoint", "ckpt_ema", "--address", exporter.address),
                *("--architecture", "META_GRAPH"),
                environment=traced,
            )
        with running(
            "inference_service", *store, log=log, environment={**traced, **ports}
        ) as inference:
            with InferenceClient(inference.address) as client:
                client.wait_until_ready("digits")
            command(
                "inference_service",
                *("predict", "digits", "--npz", str(tmp_path / "images.npz")),
                *("--address", inference.address),
                environment=traced,
            )
        spans = collector.wait_for(lambda spans: any(one.name == "publish" for one in spans))
    # The services have ended, and with that sent everything.
    convert = "pbserve.exporter.v1.ExporterService/ConvertCheckpoint"
    asked = named(spans, convert, "pbexport-cli")
    (served,) = below(spans, asked)
    assert (served.name, served.service) == (convert, "pbexport")
    (conversion,) = below(spans, served)
    assert conversion.attributes == {"pbserve.model": "digits"}
    steps = sorted(below(spans, conversion), key=lambda span: span.began)
    assert [step.name for step in steps if step.name != "queued"] == list(STEPS)

    predict = "pbserve.inference.v1.InferenceService/StreamPredict"
    asked = named(spans, predict, "pbserve-cli")
    (served,) = below(spans, asked)
    assert (served.name, served.service) == (predict, "pbserve")
    requests = below(spans, served)
    assert [one.name for one in requests] == ["predict"] * IMAGES
    batches = {one.id: one for one in spans if one.name == "batch"}
    for request in requests:
        assert {"queue", "compute"} <= {one.name for one in below(spans, request)}
        (computed,) = (one for one in below(spans, request) if one.name == "compute")
        (batch,) = (batches[link] for link in computed.links)
        assert batch.parent == request.id or request.id in batch.links
        assert {one.name for one in below(spans, batch)} == {"stack", "run", "check"}
        assert asked.began <= request.began <= computed.ended <= request.ended <= asked.ended
    assert not any(span.is_error for span in spans)
