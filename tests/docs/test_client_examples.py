"""The programs of the page about the Python clients, against real services."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service_kit.store.artifact_store import ArtifactStore
from tests.docs.conftest import Services
from tests.support.digits import PARITY, expected
from tests.support.inference_server import inference_server
from tests.support.markdown import ROOT
from tests.support.tls import Certificates, TokenCheck, behind_tls

COUNT = 12


def printed(name: str, *arguments: str | Path) -> list[str]:
    """Runs an example and returns the lines that it prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "clients" / name, *arguments],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The first golden digits as files."""
    for n, image in enumerate(expected()["images"][:COUNT]):
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / f"{n:02}.png")
    return tmp_path


def best(line: str) -> tuple[int, float]:
    found = re.search(r": class (\d+) .*?(\d\.\d{5})$", line)
    assert found, line
    return int(found[1]), float(found[2])


def assert_golden(lines: list[str]) -> None:
    probs = expected()["probs_ema"][:COUNT]
    assert len(lines) == COUNT
    for line, row in zip(lines, probs, strict=True):
        index, score = best(line)
        assert index == row.argmax()
        # Five digits are printed.
        assert score == pytest.approx(row.max(), abs=PARITY + 5e-6)


def test_files_are_predicted(services: Services, folder: Path) -> None:
    files = sorted(folder.iterdir())
    *lines, who = printed("predict_files.py", services.inference, "digits", *files)
    assert_golden(lines)
    assert who.startswith("version 1, card ")


def test_a_folder_is_streamed_and_a_bad_file_costs_itself(services: Services, folder: Path) -> None:
    (folder / "99.png").write_text("no picture")
    *lines, bad = printed("stream_folder.py", services.inference, "digits", folder)
    assert_golden(lines)
    assert "99.png: image 0 of input 'input'" in bad
    assert "neither JPEG nor PNG" in bad


def test_an_archive_is_streamed_by_asyncio(services: Services, tmp_path: Path) -> None:
    images, probs = expected()["images"], expected()["probs_ema"]
    np.savez(tmp_path / "digits.npz", images=images.astype(np.uint8))
    (line,) = printed("asyncio_stream.py", services.inference, "digits", tmp_path / "digits.npz")
    classes, counts = np.unique(probs.argmax(axis=1), return_counts=True)
    told = dict(zip(classes.tolist(), counts.tolist(), strict=True))
    assert line == f"{len(images)} images: {told}"


def test_a_checkpoint_is_converted(services: Services) -> None:
    lines = printed("convert_checkpoint.py", services.exporter, "by-example", "ckpt_ema")
    assert any("freezes the graph" in line for line in lines)
    assert re.fullmatch(r"by-example version 1: [0-9a-f]{64}", lines[-1])


def test_a_server_behind_tls_is_asked(store: ArtifactStore, tmp_path: Path) -> None:
    certificates = Certificates("serving.example")
    (tmp_path / "root.pem").write_bytes(certificates.root)
    (tmp_path / "token").write_text("secret\n")
    with inference_server(store, tmp_path) as server:
        server.publish()
        check = TokenCheck("secret")
        with behind_tls(server, certificates.server_credentials(mutual=False), check) as address:
            lines = printed(
                "secure_client.py",
                *(address, "serving.example", tmp_path / "root.pem", tmp_path / "token"),
            )
    assert lines == ["m: version 1"]
