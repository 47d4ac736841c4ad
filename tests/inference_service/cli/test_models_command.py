from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from inference_service.cli.app import app
from inference_service.cli.server_look import Look, look
from inference_service.cli.tables import engines
from inference_service.client import InferenceClient
from inference_service.client.results import EngineStatus, Model, Version
from service_kit import errors
from service_kit.artifacts.manifest import ParityComparison, ParityReport
from service_kit.cli.exit_codes import ExitCode
from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import pixels
from tests.support.inference_server import InferenceServer, inference_server


def models(server: InferenceServer, *options: str) -> Any:
    return CliRunner().invoke(app, ("models", "--address", server.address, *options))


@contextlib.contextmanager
def watching(address: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = (sys.executable, "-m", "inference_service", "models", "--watch", "--interval", "0.1")
    with subprocess.Popen(
        [*command, "--address", address, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_models_are_shown_to_people_and_programs(server: InferenceServer) -> None:
    assert json.loads(models(server, "--json").stdout) == []
    server.publish()
    server.publish(b"broken")
    head, _, first, second, reason = models(server).stdout.splitlines()
    assert head.split() == [
        *("model", "version", "state", "labels", "cards", "batch"),
        *("best", "img/s", "images", "queued"),
    ]
    # One run takes one second by the clock of the tests: 4 images a second in a batch of 4.
    assert first.split() == ["m", "1", "AVAILABLE", "default", "2", "4", "4.0", "0", "0"]
    assert second.split() == ["m", "2", "FAILED", "0", "0", "0"]
    assert reason.startswith("m version 2: the graph has no tensor probs:0")
    (model,) = json.loads(models(server, "--json").stdout)
    assert (model["name"], model["default_version"]) == ("m", 1)
    assert [version["state"] for version in model["versions"]] == ["AVAILABLE", "FAILED"]
    assert model["versions"][0]["cards"][1]["inputs"][0]["tensor_name"] == "Card_1/input:0"


def test_rates_are_what_was_answered_between_two_looks(server: InferenceServer) -> None:
    server.publish()
    with InferenceClient(server.address) as client:
        before = look(client, Look(0.0))
        assert before.images_per_second == {}
        client.predict("m", pixels(1, 2, 3))
        after = look(client, before)
        rate = after.images_per_second[("m", 1)]
        assert rate == pytest.approx(3 / (after.at - before.at))
        # Loaded anew, it counts from 0.
        client.unload("m")
        client.load("m")
        server.sync()
        again = look(client, after)
        assert [one.versions[0].state for one in again.models] == ["AVAILABLE"]
        assert again.images_per_second == {}
        lost = Look(again.at + 1, again.models, error=errors.ServerStopping("gone"))
        assert look(client, lost).images_per_second == {}


def test_watch_prints_a_line_of_json_each_interval_until_ctrl_c(server: InferenceServer) -> None:
    server.publish()
    with watching(server.address, "--json") as process:
        assert process.stdout
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        assert first["models"][0]["name"] == "m"
        assert first["rates"] == []
        assert second["rates"] == [{"model": "m", "version": 1, "images_per_second": 0.0}]
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED
    assert stderr == "interrupted\n"


def test_watch_prints_tables_where_there_is_no_terminal(server: InferenceServer) -> None:
    server.publish()
    with watching(server.address) as process:
        assert process.stdout
        seen = [process.stdout.readline() for _ in range(8)]
    assert sum("img/s now" in line for line in seen) == 2


def test_watch_survives_a_server_that_restarts(store: ArtifactStore, tmp_path: Path) -> None:
    with inference_server(store, tmp_path) as server:
        server.publish()
        address = server.address
        stack = contextlib.ExitStack()
        process = stack.enter_context(watching(address, "--json"))
        assert process.stdout
        assert "models" in json.loads(process.stdout.readline())
    with stack:
        lines = (json.loads(line) for line in process.stdout)
        gone = next(line for line in lines if "error" in line)
        assert gone["error"]["reason"] == "SERVER_STOPPING"
        port = int(address.rsplit(":", 1)[1])
        with inference_server(store, tmp_path, port=port) as server:
            server.sync()
            again = next(line for line in lines if line.get("models"))
            assert again["models"][0]["name"] == "m"


def test_watch_draws_on_a_terminal_and_ends_cleanly(server: InferenceServer) -> None:
    server.publish()
    read, write = pty.openpty()
    command = [sys.executable, "-m", "inference_service", "models", "--watch", "--interval", "0.1"]
    with (
        subprocess.Popen(
            [*command, "--address", server.address],
            stdin=write,
            stdout=write,
            stderr=write,
            env={**os.environ, "COLUMNS": "80", "LINES": "30", "TERM": "xterm"},
        ) as process,
        contextlib.ExitStack() as stack,
    ):
        os.close(write)
        # Else a failure would wait for it for ever.
        stack.callback(process.kill)
        shown = b""
        ends = time.monotonic() + 60
        while shown.count(b"img/s now") < 3 and time.monotonic() < ends:
            select.select([read], [], [], 1.0)
            shown += os.read(read, 65536)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):
            # The terminal ends with the program.
            while chunk := os.read(read, 65536):
                shown += chunk
        assert process.wait(30) == ExitCode.INTERRUPTED
    os.close(read)
    assert b"AVAILABLE" in shown
    # The cursor goes back up for each picture, and is shown again at the end.
    assert b"\x1b[1A" in shown
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
    assert b"Traceback" not in shown


def test_an_interval_of_nothing_is_a_usage_error(server: InferenceServer) -> None:
    assert models(server, "--watch", "--interval", "0").exit_code == ExitCode.USAGE


def test_a_look_that_failed_shows_what_was_seen_before(server: InferenceServer) -> None:
    from inference_service.cli.models_command import _screen
    from service_kit.cli.console import results

    model = Model("m", 1, (), {})
    with results.capture() as capture:
        results.print(_screen(Look(0.0, [model], error=errors.ServerStopping("gone"))))
    assert "no answer, this is old: gone" in capture.get()


def test_what_runs_a_version_is_a_line() -> None:
    parity = ParityReport((ParityComparison("a", "b", 3e-7, 1e-6, 1e-5),), 1e-5)
    engine = EngineStatus("openvino", "2026.4.1", "the fastest on the CPU", "f32", parity)
    version = Version(1, "AVAILABLE", "", "", (), None, 0.5, 0, engine)
    others = [replace(version, engine=None), replace(version, engine=replace(engine, name=""))]
    (line,) = engines([Model("m", 1, (version, *others), {})])
    assert line.startswith("version 1 runs on openvino 2026.4.1 in f32, differs by 3e-07 at most")
    assert line.endswith(": the fastest on the CPU")
