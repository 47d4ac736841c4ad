"""The example for clients of TensorFlow Serving, as its users run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from inference_service.client import InferenceClient
from service_kit.store.artifact_store import ArtifactStore
from tests.conftest import Converted
from tests.support.services import running

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "examples" / "clients" / "tensorflow_serving_client.py"


def test_the_example_prints_what_its_page_says(converted_ema: Converted, tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "models"))
    store.create()
    store.publish("digits", converted_ema.conversion, converted_ema.path)
    with running("inference_service", "--store", store.url, log=tmp_path / "log") as service:
        with InferenceClient(service.address) as client:
            client.wait_until_ready("digits")
        done = subprocess.run(
            [sys.executable, str(EXAMPLE), service.address],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    page = (ROOT / "docs" / "protocols" / "tensorflow-serving.md").read_text()
    assert done.stdout.strip() in page
    assert "0.98990 of 297 images are right" in done.stdout
