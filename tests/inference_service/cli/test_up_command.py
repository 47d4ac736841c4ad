"""`pbserve up` as a person runs it: a process of its own, and both services below it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from inference_service.cli.app import app
from pbserve import ExporterClient, InferenceClient
from service_kit import errors
from service_kit.cli.exit_codes import ExitCode
from tests.support.digits import GOLDEN

FREE = [
    *("--listen", "127.0.0.1:0", "--exporter-listen", "127.0.0.1:0"),
    *("--metrics-listen", "127.0.0.1:0", "--devices", "cpu:1"),
]
_END = "Ctrl-C ends everything."


class Up:
    """A running `up`, after it has said how to ask."""

    def __init__(self, process: subprocess.Popen[str], said: str, log: Path) -> None:
        self.process, self.said, self.log = process, said, log

    def place(self, name: str) -> str:
        found = re.search(rf"^{name}\s+(\S+)$", self.said, re.MULTILINE)
        assert found, self.said
        return found[1]

    def snippet(self) -> str:
        lines = self.said.split("From Python:")[1].split("gRPC ")[0].splitlines()
        return "\n".join(line.removeprefix("    ") for line in lines)


@contextlib.contextmanager
def up(folder: Path, *arguments: str) -> Iterator[Up]:
    log = folder / "up.log"
    with log.open("w") as notices:
        process = subprocess.Popen(
            [sys.executable, "-m", "inference_service", "up", *arguments, *FREE],
            stdout=subprocess.PIPE,
            stderr=notices,
            text=True,
            # Of a server that runs here: must not matter.
            env={**os.environ, "PBSERVE_STORE": "/nowhere", "PBEXPORT_LISTEN": "256.0.0.1:1"},
        )
    assert process.stdout is not None
    try:
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith(_END):
                break
        yield Up(process, "".join(lines), log)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        process.stdout.close()


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["up", *arguments])


@pytest.mark.slow
def test_a_checkpoint_is_served_and_a_second_up_converts_nothing(tmp_path: Path) -> None:
    checkpoint, store = str(GOLDEN / "ckpt_ema"), tmp_path / "models"
    with up(tmp_path, checkpoint, "--model", "digits", "--store", str(store)) as first:
        assert "digits version 1 is served on 1 card: cpu:0 (no GPU)." in first.said, (
            first.log.read_text()
        )
        assert "converts by densenet classes=10" in first.log.read_text()
        assert 'np.zeros([1, 32, 32, 3], "float32")' in first.snippet()
        subprocess.run([sys.executable, "-c", first.snippet()], check=True, timeout=60)
        with ExporterClient(first.place("exporter")) as client:
            assert [one.version for one in client.artifacts()[0]] == [1]
    assert first.process.returncode == ExitCode.OK
    for name in ("gRPC", "exporter"):
        with (
            InferenceClient(first.place(name)) as client,
            pytest.raises(errors.DeadlineExpired),
        ):
            client.wait_until_ready(timeout=0.2)

    with up(tmp_path, checkpoint, "--model", "digits", "--store", str(store)) as second:
        assert "digits version 1 is served on 1 card: cpu:0 (no GPU)." in second.said
        assert "digits version 1 has this already" in second.log.read_text()


def test_killed_it_leaves_nothing_behind_that_listens(tmp_path: Path) -> None:
    with up(tmp_path, str(GOLDEN / "single.pb"), "--store", str(tmp_path / "models")) as running:
        assert "single version 1 is served on 1 card: cpu:0 (no GPU)." in running.said, (
            running.log.read_text()
        )
        pid = running.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        descriptors = [os.pidfd_open(int(child)) for child in children]
        assert len(descriptors) == 2
        running.process.kill()
        for descriptor in descriptors:
            assert _ends(descriptor)


def _ends(descriptor: int) -> bool:
    import select

    ended, _, _ = select.select([descriptor], [], [], 60)
    os.close(descriptor)
    return bool(ended)


def test_a_taken_port_ends_it_with_the_services_own_words(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run(
            *(str(GOLDEN / "single.pb"), "--store", str(tmp_path)),
            *(*FREE, "--exporter-listen", address),
        )
    assert done.exit_code == ExitCode.UNAVAILABLE
    assert f"pbexport ended with code 1: cannot listen on {address}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "there is nothing at nowhere"),
        ([str(GOLDEN / "single.pb"), "--mean", "1,2,3"], "only --input and --output go with"),
        ([str(GOLDEN / "single.pb"), "--listen", "0.0.0.0:0"], "for other machines, run"),
    ],
)
def test_what_cannot_be_is_said_before_anything_starts(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    done = run(*arguments, "--store", str(tmp_path / "models"))
    assert done.exit_code in {ExitCode.FAILED, ExitCode.NOT_FOUND}
    assert words in done.stderr
    assert not (tmp_path / "models").exists()
