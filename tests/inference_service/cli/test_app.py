from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from inference_service.cli.app import app
from inference_service.client import InferenceClient, RetryPolicy
from service_kit import errors
from service_kit.cli.exit_codes import ExitCode
from tests.support.engines import pixels
from tests.support.inference_server import InferenceServer


def run(*arguments: str, **kwargs: Any) -> Any:
    return CliRunner().invoke(app, arguments, **kwargs)


def test_an_error_is_one_line(server: InferenceServer) -> None:
    done = run("show", "nothing", "--address", server.address, "--json")
    assert done.exit_code == ExitCode.NOT_FOUND
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ("models",),
        ("show", "m"),
        ("load", "m"),
        ("unload", "m"),
        ("label", "m", "stable", "1"),
        ("predict", "m", "image.png"),
        ("bench", "m"),
    ],
)
def test_a_server_that_is_not_there_is_one_line_and_exit_code_3(command: tuple[str, ...]) -> None:
    done = run(*command, "--address", "127.0.0.1:1")
    assert done.exit_code == ExitCode.UNAVAILABLE
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert "error: nothing listens on " in done.stderr


def test_cards_are_shown_to_people_and_programs(server: InferenceServer) -> None:
    server.publish()
    shown = run("show", "m", "--address", server.address, env={"COLUMNS": "80"}).stdout
    assert "cpu:0" in shown
    assert "ok" in shown
    assert "version 1 takes input (?x2x2x3 float32), gives probs (?x3 float32)\n" in shown
    model = json.loads(run("show", "m", "--address", server.address, "--json").stdout)
    card = model["versions"][0]["cards"][1]
    assert (card["runs_on"], card["shares_device_with"], card["tower"]) == ("cpu:0", [0], 1)
    assert [timing["batch_size"] for timing in card["timings"]] == [1, 2, 4]
    server.engines[0].broken_cards.add(1)
    with InferenceClient(server.address, retry=RetryPolicy(attempts=1)) as client:
        while client.model("m").versions[0].cards[1].healthy:
            with contextlib.suppress(errors.PbserveError):
                client.predict("m", pixels(1), card=1)
    shown = run("show", "m", "--address", server.address, env={"COLUMNS": "80"}).stdout
    assert "m version 1 card 1 is out of order:" in shown
    assert "the device is gone" in shown


def test_versions_are_loaded_labelled_and_unloaded(server: InferenceServer) -> None:
    server.publish()
    server.publish()
    at = ("--address", server.address)
    assert "m version 1 is AVAILABLE on 2 cards: batches of 4" in run("load", "m", "1", *at).stdout
    assert json.loads(run("load", "m", "1", "--json", *at).stdout)["version"] == 1
    assert run("label", "m", "stable", "1", *at).stdout == "label stable of m is at version 1\n"
    assert "stable" in run("models", *at, env={"COLUMNS": "100"}).stdout
    refused = run("unload", "m", "1", *at)
    assert (refused.exit_code, "label stable of model m" in refused.stderr) == (1, True)
    said = json.loads(run("label", "m", "stable", "1", "--json", *at).stdout)
    assert said == {"model": "m", "label": "stable", "version": 1}
    assert run("label", "m", "stable", "0", *at).stdout == "label stable of m is removed\n"
    assert run("unload", "m", "1", *at).stdout == "m version 1 is unloaded\n"
    said = json.loads(run("unload", "m", "--json", *at).stdout)
    assert said == {"model": "m", "version": 0}
    assert json.loads(run("models", "--json", *at).stdout) == []


def test_settings_come_from_the_environment_as_well(server: InferenceServer) -> None:
    server.publish()
    done = run("models", "--json", env={"PBSERVE_ADDRESS": server.address})
    assert json.loads(done.stdout)[0]["name"] == "m"


@pytest.mark.parametrize(
    ("options", "words", "code"),
    [
        (("--listen", "nowhere"), "write host:port", 2),
        (("--devices", "tpu:0"), "'tpu:0' does not name devices: write auto", 1),
        (("--models-file", "/nowhere/models.yaml"), "models.yaml cannot be read: No such file", 1),
        (("--listen", "127.0.0.1:0", "--store", "nope://x"), "cannot open the store nope://x", 3),
    ],
)
def test_serve_says_why_it_cannot_start(options: tuple[str, ...], words: str, code: int) -> None:
    command = [sys.executable, "-m", "inference_service", "serve", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
