from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from inference_service.cli import bench_command
from inference_service.cli.app import app
from inference_service.cli.bench.load import UNANSWERED, Load, LoadPlan
from inference_service.client import InferenceClient, RetryPolicy
from service_kit.cli.exit_codes import ExitCode
from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import MeanEngine, pixels
from tests.support.inference_server import InferenceServer, inference_server

SHORT = ("--seconds", "0.5", "--warmup", "0")


def bench(server: InferenceServer, *options: object) -> Any:
    command = ("bench", "m", "--address", server.address, *SHORT, *map(str, options))
    return CliRunner().invoke(app, command)


def plan(**changes: Any) -> LoadPlan:
    fields: dict[str, Any] = {
        "model": "m",
        "requests": [{"input": pixels(1)}],
        "batch": 1,
        "options": {},
        "streams": 2,
        "window": 1,
        "rate": None,
        "seconds": 0.5,
        "warmup_seconds": 0.0,
        "drain_seconds": 10.0,
    }
    return LoadPlan(**(fields | changes))


def run_to_the_end(load: Load) -> None:
    for _ in load.ticks(0.1):
        pass
    load.end()


def test_a_closed_loop_is_summed_up_for_programs(server: InferenceServer) -> None:
    server.publish()
    done = bench(server, "--json", "--streams", "3", "--window", "2", "--batch", "2")
    assert done.exit_code == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert (found["model"], found["streams"], found["window"], found["batch"]) == ("m", 3, 2, 2)
    assert found["rate"] is None
    assert found["images"] == 2 * found["requests"] > 0
    assert found["images_per_second"] > 0
    times = found["latency_ms"]
    assert 0 < times["p50"] <= times["p90"] <= times["p95"] <= times["p99"] <= times["max"]
    assert 1 <= found["mean_batch_size"] <= 4
    assert sum(found["cards"].values()) == sum(found["versions"].values()) == found["requests"]
    assert set(found["versions"]) == {"1"}
    assert found["errors"] == {}
    # Progress does not mix with the result.
    assert "images/s" in done.stderr
    ran = sum(images for _, images in server.engines[0].batches)
    assert ran >= found["images"]


def test_a_person_sees_a_line_a_second_and_a_table(server: InferenceServer) -> None:
    server.publish()
    done = bench(server, "--card", "1")
    assert done.exit_code == 0
    first, *rest = done.stdout.splitlines()
    assert "images/s  p50 " in first
    assert "m: 8 streams, 1 under way in each, 1 images a request" in rest[0]
    assert "1: " in next(line for line in rest if line.startswith("cards"))
    assert {card for card, _ in server.engines[0].batches} == {1}


def test_an_open_loop_sends_as_many_as_are_due(server: InferenceServer) -> None:
    server.publish()
    done = bench(server, "--json", "--rate", "100", "--streams", "4")
    found = json.loads(done.stdout)
    # Half a second of 100 a second; one more may fall on the end by rounding.
    assert found["requests"] in (50, 51)
    assert (found["rate"], found["window"]) == (100.0, None)


def test_an_open_loop_counts_a_stall_in_every_request_that_was_due(
    server: InferenceServer,
) -> None:
    """Coordinated omission: 10 requests were due while one was held up, and all were late."""
    server.publish(cards=1)
    engine = server.engines[0]
    client = InferenceClient(server.address)
    engine.gate.clear()
    load = Load(client, plan(rate=20.0, streams=1, seconds=0.5))
    for _ in load.ticks(0.1):
        pass
    # Only now, after the last one was due.
    engine.gate.set()
    load.end()
    totals = load.tally.totals()
    assert totals.requests == 10
    assert totals.latency is not None
    # The first waited for all of the 0.5 s, the one in the middle for half of it.
    assert totals.latency.max > 450
    assert totals.latency.p50 > 200
    assert totals.errors == {}


def test_a_server_that_answers_nothing_is_unanswered_in_bounded_time(
    server: InferenceServer,
) -> None:
    server.publish()
    engine = server.engines[0]
    engine.gate.clear()
    load = Load(InferenceClient(server.address), plan(window=3, seconds=0.2, drain_seconds=0.1))
    run_to_the_end(load)
    totals = load.tally.totals()
    assert (totals.requests, totals.errors) == (0, {UNANSWERED: 6})
    assert not any(stream.thread.is_alive() for stream in load._streams)
    engine.gate.set()


@pytest.mark.parametrize(("side", "streams", "most"), [(1, 1, 1000), (2048, 4, 2), (8192, 8, 1)])
def test_an_open_loop_is_bounded_in_bytes(side: int, streams: int, most: int) -> None:
    images = np.broadcast_to(np.float32(0), (1, side, side, 3))
    assert plan(requests=[{"input": images}], streams=streams).max_outstanding == most


def test_what_a_server_refuses_is_counted_by_kind_and_waited_for(
    store: ArtifactStore, tmp_path: Path
) -> None:
    with inference_server(store, tmp_path, queue_images=2) as server:
        server.publish(cards=1)
        done = bench(server, "--json", "--streams", "4", "--window", "4")
    assert done.exit_code == ExitCode.PARTLY
    found = json.loads(done.stdout)
    assert set(found["errors"]) == {"QUEUE_FULL"}
    assert found["requests"] > 0


def test_where_every_request_fails_the_exit_code_is_1(
    server: InferenceServer, tmp_path: Path
) -> None:
    server.publish()
    np.savez(tmp_path / "poison.npz", images=pixels(MeanEngine.poison))
    done = bench(server, "--npz", tmp_path / "poison.npz", "--json")
    assert done.exit_code == ExitCode.FAILED
    assert set(json.loads(done.stdout)["errors"]) == {"ENGINE_FAILED"}
    assert json.loads(done.stdout)["latency_ms"] is None


def test_images_come_from_files_too(server: InferenceServer, tmp_path: Path) -> None:
    server.publish()
    for value in range(3):
        Image.new("RGB", (4, 4), (value, 0, 0)).save(tmp_path / f"{value}.png")
    done = bench(server, tmp_path, "--fit", "stretch", "--batch", "2", "--json")
    assert done.exit_code == 0, done.stderr
    assert server.engines[0].dtypes == {"float32"}


def test_a_load_goes_on_when_its_server_comes_back(store: ArtifactStore, tmp_path: Path) -> None:
    with inference_server(store, tmp_path) as server:
        server.publish()
        port = int(server.address.rsplit(":", 1)[1])
        client = InferenceClient(server.address, retry=RetryPolicy(attempts=1, stream_attempts=1))
        load = Load(client, plan(seconds=60.0))
        while not load.tally.totals().requests:
            load.tally.interval()
    lost = load.tally.totals().requests
    with inference_server(store, tmp_path, port=port) as server:
        server.sync()
        while load.tally.totals().requests <= lost:
            load.tally.interval()
        load.end()
    totals = load.tally.totals()
    assert set(totals.errors) <= {"SERVER_STOPPING", "MODEL_UNAVAILABLE", "MODEL_NOT_FOUND"}


def test_ctrl_c_shows_what_was_measured(server: InferenceServer) -> None:
    server.publish()
    command = [sys.executable, "-m", "inference_service", "bench", "m", "--seconds", "600"]
    with subprocess.Popen(
        [*command, "--address", server.address, "--json", "--warmup", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED
    found = json.loads(stdout)
    assert found["requests"] > 0
    assert 0 < found["seconds"] < 600


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--size", "axb"), 2, "--size 'axb': give one side, or HEIGHTxWIDTH"),
        (("--size", "0"), 2, "--size '0'"),
        (("--streams", "0"), 2, "--streams"),
        (("--rate", "0"), 2, "--rate"),
        (("--seconds", "0"), 2, "--seconds"),
        (("a.png", "--npz", "b.npz"), 2, "name image files and folders, or an archive"),
        (("none.png",), 1, "none.png: cannot be read"),
        (("--version", "9"), 4, "has no version 9"),
    ],
)
def test_options_that_cannot_be_meant_are_one_line(
    server: InferenceServer, options: tuple[str, ...], code: int, words: str
) -> None:
    server.publish()
    done = bench(server, *options)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert words in done.stderr


def test_the_interpreter_s_own_pauses_are_put_back(server: InferenceServer) -> None:
    server.publish()
    before = sys.getswitchinterval()
    seen: list[float] = []
    timer = threading.Timer(0.2, lambda: seen.append(sys.getswitchinterval()))
    timer.start()
    bench(server)
    timer.join()
    assert seen == pytest.approx([bench_command._SWITCH_SECONDS])
    assert sys.getswitchinterval() == before


def test_each_request_may_have_a_deadline_and_goodput_counts_those_in_time(
    server: InferenceServer,
) -> None:
    server.publish()
    done = bench(server, "--json", "--rate", "40", "--streams", "2", "--timeout", "20")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["timeout"], found["rate"]) == (20.0, 40.0)
    assert found["requests"] in (20, 21)
    assert 0 < found["goodput_images_per_second"] == found["images_per_second"]
    done = bench(server, "--window", "2", "--timeout", "20")
    assert done.exit_code == 0, done.stderr
    assert "1 images a request, deadline 20 s" in done.stdout
    assert "in time " in done.stdout


def test_what_is_not_answered_by_its_deadline_has_expired(server: InferenceServer) -> None:
    server.publish(cards=1)
    server.engines[0].gate.clear()
    done = bench(server, "--json", "--rate", "40", "--streams", "2", "--timeout", "0.1")
    server.engines[0].gate.set()
    assert done.exit_code == ExitCode.FAILED
    found = json.loads(done.stdout)
    assert sum(found["errors"].values()) in (20, 21)
    assert set(found["errors"]) == {"DEADLINE_EXPIRED"}
    assert found["goodput_images_per_second"] == 0


def test_a_call_that_does_not_end_is_unanswered_in_bounded_time(server: InferenceServer) -> None:
    server.publish(cards=1)
    server.engines[0].gate.clear()
    load = Load(
        InferenceClient(server.address, retry=RetryPolicy(attempts=1)),
        plan(window=3, seconds=0.2, drain_seconds=0.1, timeout=600.0),
    )
    run_to_the_end(load)
    totals = load.tally.totals()
    assert (totals.requests, totals.errors) == (0, {UNANSWERED: 6})
    server.engines[0].gate.set()


def test_calls_under_way_are_bounded() -> None:
    assert plan(rate=100.0, timeout=1.0, streams=2).callers == 51
    assert plan(rate=1e6, timeout=60.0, streams=2).callers == 256
    assert plan(window=7, timeout=1.0).callers == 7
