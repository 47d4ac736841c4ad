"""Both services with TLS and tokens, as real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from exporter_service.client import ExporterClient
from inference_service.client import InferenceClient
from service_kit import errors
from service_kit.artifacts.manifest import Manifest
from service_kit.client.tls import Tls
from tests.support.certificates import Authority
from tests.support.digits import GOLDEN, PARITY, digits_request, expected
from tests.support.services import running
from tests.support.tokens import token, write_access_file


def test_each_caller_does_its_part_and_no_secret_stands_in_a_log(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.server_files()
    write_access_file(tmp_path / "access.yaml", trainer="convert", web="predict, read", ops="admin")
    options = [
        *("--store", str(tmp_path / "models")),
        *("--tls-cert", str(files.certificate), "--tls-key", str(files.key)),
        *("--access-file", str(tmp_path / "access.yaml")),
        *("--metrics-listen", "127.0.0.1:0"),
    ]
    roots = ("--checkpoint-root", str(GOLDEN))
    exporter_log, inference_log = tmp_path / "exporter.log", tmp_path / "inference.log"
    tls = Tls(root_certificates=authority.roots)
    with (
        running("exporter_service", *options, *roots, log=exporter_log) as exporter,
        running("inference_service", *options, log=inference_log) as inference,
    ):
        with ExporterClient(exporter.address, tls=tls, token=token("web")) as client:
            with pytest.raises(errors.RoleMissing, match="role convert; web has predict, read"):
                list(client.convert(digits_request(model="digits")))
            assert client.artifacts() == ([], [])
        with ExporterClient(exporter.address, tls=tls, token=token("trainer")) as client:
            *_, manifest = client.convert(digits_request(model="digits"))
            assert isinstance(manifest, Manifest)
            with pytest.raises(errors.RoleMissing):
                client.delete("digits", 1)
        with InferenceClient(inference.address, tls=tls, token=token("web")) as client:
            client.wait_until_ready("digits")
            probs = client.predict("digits", expected()["images"]).outputs["probs"]
            assert np.abs(probs - expected()["probs_ema"]).max() < PARITY
            with pytest.raises(errors.RoleMissing):
                client.unload("digits", 1)
        with InferenceClient(inference.address, tls=tls, token=token("ops")) as client:
            client.unload("digits", 1)
        stranger = InferenceClient(inference.address, tls=tls, token=token("guess"))
        with stranger, pytest.raises(errors.Unauthenticated, match="not known here"):
            stranger.models()
        nobody = InferenceClient(inference.address, tls=tls)
        with nobody, pytest.raises(errors.Unauthenticated, match="asks for a token"):
            nobody.models()
    logs = exporter_log.read_text() + inference_log.read_text()
    assert "secret-" not in logs
    assert "PRIVATE KEY" not in logs
    audits = [line for line in logs.splitlines() if "audit" in line]
    assert any("convert" in line and "trainer" in line and "OK" in line for line in audits)
    assert any("unload" in line and "ops" in line and "OK" in line for line in audits)


def test_a_plain_port_beyond_loopback_has_to_be_asked_for(tmp_path: Path) -> None:
    for package in ("exporter_service", "inference_service"):
        done = subprocess.run(
            [sys.executable, "-m", package, "serve", "--listen", "0.0.0.0:0"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 1
        assert "say --insecure" in done.stderr
        assert "Traceback" not in done.stderr
