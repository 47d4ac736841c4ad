"""Neither service starts on what may be the mount point of a lost volume, if it is told so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service_kit.cli.exit_codes import ExitCode
from service_kit.store.local_mark import MARK


@pytest.mark.parametrize("package", ["exporter_service", "inference_service"])
@pytest.mark.parametrize("folder", ["empty", "absent"])
def test_a_folder_without_the_mark_is_refused_and_left_as_it_is(
    tmp_path: Path, package: str, folder: str
) -> None:
    store = tmp_path / folder
    if folder == "empty":
        store.mkdir()
    ports = ("--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    options = (*ports, "--store", str(store), "--require-store-mark")
    done = subprocess.run(
        [sys.executable, "-m", package, "serve", *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == ExitCode.UNAVAILABLE
    assert MARK in done.stderr
    assert "mount its volume" in done.stderr
    assert len(list(tmp_path.rglob("*"))) == (folder == "empty")
