"""The main job with real processes, as its users run it."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from exporter_service.client import ExporterClient
from exporter_service.specs.progress import Step
from inference_service.client import InferenceClient
from service_kit import errors
from service_kit.artifacts.manifest import MovingAverageMode
from service_kit.client.retry import RetryPolicy
from service_kit.store.local_mark import MARK
from tests.conftest import RunningExporter
from tests.support.digits import GOLDEN, PARITY, digits_request, expected
from tests.support.services import Service, conversion_process, running

ROOT = Path(__file__).resolve().parent.parent.parent


def convert(exporter: RunningExporter, model: str, mode: MovingAverageMode) -> int:
    with ExporterClient(exporter.address) as client:
        *_, manifest = client.convert(digits_request(model=model, moving_average=mode))
    return int(manifest.version)  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def inference(
    exporter: RunningExporter, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("inference") / "log"
    with running("inference_service", "--store", str(exporter.store), log=log) as service:
        yield service


def test_the_demo_holds() -> None:
    """Convert by RPC, hot-load, stream, swap under an open stream: the numbers are 1.15's."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "digits_demo.py")],
        capture_output=True, text=True, timeout=115, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("0.98990", "0.94613", "yes both cards answered", "yes no request failed"):
        assert words in done.stdout
    assert "NO" not in done.stdout


def test_each_card_answers_every_image_as_tensorflow_1_15_did(
    exporter: RunningExporter, inference: Service
) -> None:
    convert(exporter, "e2e-cards", MovingAverageMode.AUTO)
    with InferenceClient(inference.address) as client:
        client.wait_until_ready("e2e-cards")
        for card in (0, 1):
            prediction = client.predict("e2e-cards", expected()["images"], card=card)
            assert prediction.card == card
            assert np.abs(prediction.outputs["probs"] - expected()["probs_ema"]).max() < PARITY
        model = client.model("e2e-cards")
        assert [card.answered_images for card in model.versions[0].cards] == [297, 297]


def test_a_damaged_version_is_not_served_and_the_previous_one_goes_on(
    exporter: RunningExporter, inference: Service
) -> None:
    convert(exporter, "e2e-damage", MovingAverageMode.AUTO)
    with InferenceClient(inference.address) as client:
        client.wait_until_ready("e2e-damage")
        # A later version appears already damaged: moved into place as a publication is.
        published = exporter.store / "e2e-damage"
        hidden = exporter.store / ".publishing-test"
        subprocess.run(["cp", "-r", str(published / "1"), str(hidden)], check=True)
        manifest = hidden / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"version": "1"', '"version": "2"'))
        # As of an artifact from before there were such files.
        (hidden / "manifest.json.sha256").unlink()
        graph = hidden / "multi_frozen_model.pb"
        graph.write_bytes(graph.read_bytes()[:-1] + b"\x00")
        hidden.rename(published / "2")
        failed = None
        while failed is None:
            versions = client.model("e2e-damage").versions
            failed = next((v for v in versions if v.state == "FAILED"), None)
        assert failed.version == 2
        assert "e2e-damage/2/multi_frozen_model.pb has SHA-256" in failed.reason
        assert client.predict("e2e-damage", expected()["images"][:1]).version == 1


def test_a_terminated_server_answers_what_it_has_read_and_ends_the_stream(
    exporter: RunningExporter, tmp_path: Path
) -> None:
    convert(exporter, "e2e-drain", MovingAverageMode.AUTO)
    options = ("--store", str(exporter.store), "--grace", "60")
    with (
        running("inference_service", *options, log=tmp_path / "log") as service,
        # A client that tries again would ask the next server.
        InferenceClient(
            service.address, retry=RetryPolicy(attempts=1, stream_attempts=1)
        ) as client,
    ):
        client.wait_until_ready("e2e-drain")

        def endless() -> Iterator[np.ndarray]:
            for number in itertools.count():
                if number == 500:
                    os.kill(service.pid, signal.SIGTERM)
                yield expected()["images"][number % 297 : number % 297 + 1]

        answered: list[int] = []

        def collect() -> None:
            for answer in client.stream("e2e-drain", endless()):
                answer.result()
                answered.append(answer.index)

        with pytest.raises(errors.ServerStopping, match="send what has no answer"):
            collect()
        # No hole: what was read, in order, was answered.
        assert sorted(answered) == list(range(len(answered)))
        assert len(answered) > 400
        assert service.process.wait(60) == 0
        with pytest.raises(errors.ServerStopping):
            client.predict("e2e-drain", expected()["images"][:1])


def test_services_end_orderly_and_quietly(exporter: RunningExporter, tmp_path: Path) -> None:
    for package, options in (
        ("inference_service", ("--store", str(exporter.store))),
        ("exporter_service", ("--store", str(tmp_path / "s"), "--checkpoint-root", str(tmp_path))),
    ):
        for number in (signal.SIGTERM, signal.SIGINT):
            with running(package, *options, log=tmp_path / "log") as service:
                os.kill(service.pid, number)
                assert service.process.wait(60) == 0
            assert "Traceback" not in service.log.read_text()


def test_an_exporter_that_is_told_to_stop_ends_its_conversion(tmp_path: Path) -> None:
    options = ("--store", str(tmp_path / "models"), "--checkpoint-root", str(GOLDEN))
    with (
        running("exporter_service", *options, "--grace", "0", log=tmp_path / "log") as service,
        ExporterClient(service.address) as client,
    ):
        events = client.convert(digits_request())
        next(event for event in events if getattr(event, "step", None) is Step.READ)
        pid = conversion_process(service)
        # A conversion that does not even get to run must not hold up the end.
        os.kill(pid, signal.SIGSTOP)
        os.kill(service.pid, signal.SIGTERM)
        assert service.process.wait(60) == 0
        with pytest.raises(errors.PbserveError):
            list(events)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert "Traceback" not in service.log.read_text()
    assert [path.name for path in (tmp_path / "models").iterdir()] == [MARK]


def test_settings_come_from_the_environment_and_health_goes_up_when_all_is_loaded(
    exporter: RunningExporter, tmp_path: Path
) -> None:
    convert(exporter, "e2e-env", MovingAverageMode.AUTO)
    environment = {
        "PBSERVE_LISTEN": "127.0.0.1:0",
        "PBSERVE_STORE": str(exporter.store),
        "PBEXPORT_LISTEN": "127.0.0.1:0",
        "PBEXPORT_STORE": str(exporter.store),
        "PBEXPORT_CHECKPOINT_ROOT": f"{tmp_path}:{GOLDEN}",
    }
    with (
        running("inference_service", log=tmp_path / "i", environment=environment) as serving,
        running("exporter_service", log=tmp_path / "e", environment=environment) as exporting,
        InferenceClient(serving.address) as client,
        ExporterClient(exporting.address) as exporter_client,
    ):
        client.wait_until_ready()
        # The overall answer waits for every model that was there at the start.
        states = {m.name: {v.state for v in m.versions} for m in client.models()}
        assert states["e2e-env"] == {"AVAILABLE"}
        assert all("LOADING" not in found for found in states.values())
        assert exporter_client.inspect("ckpt_v1").checkpoint.global_step == 60
        assert exporter_client.artifact("e2e-env").version == 1


def test_the_defaults_are_those_of_the_documentation() -> None:
    for package, address in (("exporter_service", "8600"), ("inference_service", "8500")):
        done = subprocess.run(
            [sys.executable, "-m", package, "serve", "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "COLUMNS": "200"},
        )
        assert f"[default: 127.0.0.1:{address}]" in done.stdout
        assert "[default: ./models]" in done.stdout
