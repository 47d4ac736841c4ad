from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from inference_service.cli import app
from inference_service.client import InferenceClient
from service_kit import errors
from service_kit.artifact_store import ArtifactStore
from tests.support.engines import MeanEngine, pixels
from tests.support.inference_server import InferenceServer, inference_server


def run(*arguments: str, **kwargs: Any) -> Any:
    return CliRunner().invoke(app, arguments, **kwargs)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "images.npz"
    np.savez(
        path,
        images=pixels(*range(20), dtype="uint8"),
        doubles=pixels(1, dtype="float64"),
        one=np.array(3.0),
        objects=np.array([None]),
    )
    np.save(tmp_path / "single.npy", pixels(1))
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(200)
    (tmp_path / "damaged.npz").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as text:
        text.writestr("images", "no array")
    return path


def test_predict_prints_one_json_object_a_line_in_order(
    server: InferenceServer, archive: Path
) -> None:
    server.publish(b"5")
    done = run(
        "predict",
        "m",
        "--npz",
        str(archive),
        "--key",
        "images",
        "--address",
        server.address,
        "--json",
    )
    assert done.exit_code == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["index"] for line in lines] == list(range(20))
    assert [line["probs"][0] for line in lines] == [n + 5 for n in range(20)]
    assert {line["version"] for line in lines} == {1}
    assert {line["card"] for line in lines} == {0, 1}
    assert set(lines[0]) == {"index", "probs", "card", "version"}


def test_predict_pins_a_card_and_prints_a_table(server: InferenceServer, archive: Path) -> None:
    server.publish()
    done = run("predict", "m", "--npz", str(archive), "--card", "1", "--address", server.address)
    assert done.exit_code == 0
    assert "probability" in done.stdout
    assert "│ 19" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--key", "pictures"], "has no array 'pictures'; it has images, doubles, one, objects"),
        (["--key", "one"], "is a single number"),
        (["--key", "objects"], "cannot be read as a NumPy archive: it holds Python objects"),
        (["--npz", "single.npy"], "holds one array: save it with numpy.savez"),
        (["--npz", "damaged.npz"], "cannot be read as a NumPy archive"),
        (["--npz", "text.npz", "--key", "images"], "is no array"),
        (["--version", "99999999999999999999"], "the request cannot be sent"),
        (["--key", "doubles"], "is float64; the model takes float32"),
        (["--card", "7"], "has no card 7; it has 0, 1"),
        (["--version", "7"], "has no version 7; it has 1"),
        (["--npz", "/nonexistent.npz"], "cannot be read as a NumPy archive"),
        (["--address", "127.0.0.1:1"], "cannot reach the server"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(
    server: InferenceServer, archive: Path, options: list[str], words: str
) -> None:
    server.publish()
    options = [str(archive.parent / o) if o.endswith((".npy", ".npz")) else o for o in options]
    done = run(
        "predict", "m", "--npz", str(archive), "--address", server.address, "--json", *options
    )
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_models_are_shown_to_people_and_programs(server: InferenceServer) -> None:
    assert json.loads(run("models", "--address", server.address, "--json").stdout) == []
    server.publish()
    server.publish(b"broken")
    shown = run("models", "--address", server.address).stdout
    assert "1 (default)" in shown
    assert "FAILED" in shown
    (model,) = json.loads(run("models", "--address", server.address, "--json").stdout)
    assert (model["name"], model["default_version"]) == ("m", 1)
    assert [version["state"] for version in model["versions"]] == ["AVAILABLE", "FAILED"]
    assert model["versions"][0]["cards"][1]["inputs"][0]["tensor_name"] == "Card_1/input:0"


def test_cards_are_shown_to_people_and_programs(server: InferenceServer) -> None:
    server.publish()
    shown = run("show", "m", "--address", server.address, env={"COLUMNS": "100"}).stdout
    assert "cpu:0" in shown
    assert "ok" in shown
    model = json.loads(run("show", "m", "--address", server.address, "--json").stdout)
    card = model["versions"][0]["cards"][1]
    assert (card["runs_on"], card["shares_device_with"], card["tower"]) == ("cpu:0", [0], 1)
    assert [timing["batch_size"] for timing in card["timings"]] == [1, 2, 4]
    server.engines[0].broken_cards.add(1)
    with InferenceClient(server.address) as client:
        while client.model("m").versions[0].cards[1].healthy:
            with contextlib.suppress(errors.PbserveError):
                client.predict("m", pixels(1), card=1)
    shown = run("show", "m", "--address", server.address, env={"COLUMNS": "100"}).stdout
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
    assert run("label", "m", "stable", "0", *at).stdout == "label stable of m is removed\n"
    assert run("unload", "m", "1", *at).stdout == "m version 1 is unloaded\n"
    assert run("unload", "m", *at).stdout == "m is unloaded\n"
    assert json.loads(run("models", "--json", *at).stdout) == []


def test_files_are_decoded_fitted_and_ranked(server: InferenceServer, tmp_path: Path) -> None:
    server.publish()
    for value in (3, 200):
        Image.new("RGB", (9, 5), (value, 0, 7)).save(tmp_path / f"{value}.png")
    files = [option for value in (3, 200) for option in ("--image", str(tmp_path / f"{value}.png"))]
    command = ("predict", "m", *files, "--fit", "crop", "--top", "2", "--address", server.address)
    lines = [json.loads(line) for line in run(*command, "--json").stdout.splitlines()]
    assert [[one["index"] for one in line["top"]] for line in lines] == [[2, 0], [0, 2]]
    assert lines[1]["top"][0]["score"] == 200
    table = run(*command, "--bulk", env={"COLUMNS": "100"}).stdout
    assert "200.00000" in table
    exact = run(*command[:6], "--address", server.address)
    assert "image 0 of input 'input' has height 5 and width 9" in exact.stderr


def test_images_come_from_files_or_an_archive(server: InferenceServer, tmp_path: Path) -> None:
    at = ("--address", server.address)
    for options in ([], ["--image", "a.png", "--npz", "b.npz"]):
        refused = run("predict", "m", *options, *at)
        assert "give the images with --image, or with --npz" in refused.stderr
    missing = run("predict", "m", "--image", str(tmp_path / "no.png"), *at)
    assert "no.png cannot be read: No such file" in missing.stderr


def test_settings_come_from_the_environment_as_well(server: InferenceServer) -> None:
    server.publish()
    done = run("models", "--json", env={"PBSERVE_ADDRESS": server.address})
    assert json.loads(done.stdout)[0]["name"] == "m"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--listen", "nowhere"), "write host:port"),
        (("--devices", "tpu:0"), "'tpu:0' does not name devices: write auto"),
        (("--models-file", "/nowhere/models.yaml"), "models.yaml cannot be read: No such file"),
        (("--listen", "127.0.0.1:0", "--store", "nope://x"), "cannot open the store nope://x"),
    ],
)
def test_serve_says_why_it_cannot_start(options: tuple[str, ...], words: str) -> None:
    command = [sys.executable, "-m", "inference_service", "serve", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_predict_sends_again_what_a_full_queue_refused(
    store: ArtifactStore, tmp_path: Path, archive: Path
) -> None:
    with inference_server(store, tmp_path, queue_images=2) as server:
        server.publish(cards=1)
        done = run("predict", "m", "--npz", str(archive), "--address", server.address, "--json")
    assert done.exit_code == 0, done.stderr
    assert [json.loads(line)["index"] for line in done.stdout.splitlines()] == list(range(20))


def test_an_error_names_its_image(server: InferenceServer, tmp_path: Path) -> None:
    server.publish()
    values = pixels(1, 2, MeanEngine.poison)
    np.savez(tmp_path / "poison.npz", images=values)
    npz = str(tmp_path / "poison.npz")
    done = run("predict", "m", "--npz", npz, "--address", server.address, "--card", "0", "--json")
    assert done.exit_code == 1
    assert "error: image " in done.stderr


def test_the_reason_of_a_failure_is_whole_in_a_narrow_terminal(server: InferenceServer) -> None:
    server.publish(b"broken")
    shown = run("models", "--address", server.address, env={"COLUMNS": "40"}).stdout
    assert "m version 1: the graph has no tensor probs:0" in shown
