from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from exporter_service.cli import tables
from exporter_service.cli.app import app
from service_kit.artifacts.manifest import MetaGraphReport, published_as
from service_kit.cli.console import results
from service_kit.cli.exit_codes import ExitCode
from service_kit.store.artifact_store import ArtifactStore
from tests.conftest import RunningExporter
from tests.support.digits import GOLDEN
from tests.support.manifests import conversion, graph_file
from tests.support.services import running

DIGITS = [
    *("--architecture", "densenet", "--scope", "densenet_digits", "--growth-rate", "8"),
    *("--initial-filters", "16", "--layers", "3,4,3", "--reduction", "0.5", "--classes", "10"),
    *("--image-size", "32", "--mean", "177.26,109.55,168.66"),
]


def run(*arguments: str, **kwargs: Any) -> Any:
    return CliRunner().invoke(app, arguments, **kwargs)


def convert(exporter: RunningExporter, model: str, *options: str) -> Any:
    return run(
        "convert", model, "--checkpoint", "ckpt_ema", *DIGITS, "--address", exporter.address,
        *options,
    )  # fmt: skip


def test_convert_ends_with_a_table_of_what_a_person_asks(exporter: RunningExporter) -> None:
    done = convert(exporter, "cli-table", "--cards", "2")
    assert done.exit_code == 0
    for words in (
        "cli-table version 1",
        "300",
        "450",
        "269.1 kB in multi_frozen_model.pb",
        "Card_0/input:0  (?x32x32x3 float32) on /gpu:0",
        "Card_1/probs:0  (?x10 float32)",
        "73 of 121 variables (auto)",
        "passed: largest difference ",
    ):
        assert words in done.stdout
    assert "checks the numbers: 450 nodes" in done.stderr


def test_watch_tells_how_long_every_step_took(exporter: RunningExporter) -> None:
    done = convert(exporter, "cli-watch", "--watch", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["model"] == "cli-watch"
    lines = [line.split(" s  ") for line in done.stderr.splitlines()]
    steps = [text.split(":")[0] for _, text in lines]
    assert steps[-4:] == [
        *("restores the weights", "freezes the graph", "checks the numbers"),
        "publishes the artifact",
    ]
    assert all(float(seconds) >= 0 for seconds, _ in lines)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("pbexport convert m --architecture densenet1", "densenet121\ndensenet161\ndensenet169\n"),
        ("pbexport verify cli-compl", "cli-completion\n"),
        ("pbexport list cli-compl", "cli-completion\n"),
        ("pbexport convert m --arch", "--architecture\n"),
    ],
)
def test_names_are_completed_from_the_running_exporter(
    exporter: RunningExporter, line: str, offered: str
) -> None:
    if not (exporter.store / "cli-completion").exists():
        run("adopt", "cli-completion", "--graph", "multi.pb", "--address", exporter.address)
    done = subprocess.run(
        [Path(sys.executable).with_name("pbexport")],
        env={
            **os.environ,
            "PBEXPORT_ADDRESS": exporter.address,
            "_PBEXPORT_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split()) - 1),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == (offered, "")


def test_convert_prints_one_json_object_for_programs(exporter: RunningExporter) -> None:
    done = convert(
        exporter, "cli-json", "--cards", "2", "--device", "cpu", "--moving-average", "off", "--json"
    )
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert (document["model"], document["version"]) == ("cli-json", 1)
    assert document["graph"]["node_count"] == 450
    assert document["checkpoint"]["global_step"] == 300
    assert document["moving_average"]["from_shadow"] == 0
    assert document["towers"][1]["device"] == "/cpu:1"
    assert document["parity"]["passed"] is True
    assert document["preprocessing"]["mean"] == [177.26, 109.55, 168.66]


def test_list_inspect_delete_and_architectures_speak_both_languages(
    exporter: RunningExporter, tmp_path: Path
) -> None:
    address = ("--address", exporter.address)
    ArtifactStore(str(exporter.store)).publish("cli-life", conversion(), graph_file(tmp_path))
    assert "cli-life" in run("list", *address).stdout
    listed = json.loads(run("list", "cli-life", *address, "--json").stdout)
    assert [(one["model"], one["version"]) for one in listed] == [("cli-life", 1)]
    assert "growth_rate=8" in run("inspect", "ckpt_ema", *address).stdout
    inspected = json.loads(run("inspect", "ckpt_ema", *address, "--json").stdout)
    assert (inspected["shadow_count"], inspected["parameter_count"]) == (73, 40838)
    assert "DenseNet-169" in run("architectures", *address).stdout
    named = {one["name"] for one in json.loads(run("architectures", *address, "--json").stdout)}
    assert {"META_GRAPH", "densenet169"} <= named
    assert "deleted version 1 of cli-life" in run("delete", "cli-life", "1", *address).stdout
    assert json.loads(run("list", "cli-life", *address, "--json").stdout) == []


def meta(exporter: RunningExporter, model: str, *options: str) -> Any:
    return run(
        "convert", model, "--checkpoint", "ckpt_ema", "--architecture", "META_GRAPH",
        "--address", exporter.address, *options,
    )  # fmt: skip


def test_a_training_graph_is_converted_as_its_options_say(exporter: RunningExporter) -> None:
    done = meta(
        exporter, "cli-meta", "--cards", "2", "--input", "pixels=IteratorGetNext:0",
        "--output", "answer=densenet_digits/predictions/Softmax", "--scope-prefix", "Lane",
        "--input-dtype", "uint8", "--no-compare-twin", "--json",
    )  # fmt: skip
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    tower = document["towers"][1]
    assert tower["inputs"][0]["tensor_name"] == "Lane_1/pixels:0"
    assert tower["inputs"][0]["dtype"] == "uint8"
    assert tower["outputs"][0]["name"] == "answer"
    assert document["meta_graph"]["batch_norms_switched"] == 24
    table = meta(exporter, "cli-meta")
    assert "input takes the place of IteratorGetNext:0" in " ".join(table.stdout.split())
    assert "24 batch norms or statistics, 0 dropouts taken out" in " ".join(table.stdout.split())


def test_what_becomes_of_state_is_an_option_and_a_row(exporter: RunningExporter) -> None:
    refused = meta(exporter, "cli-state", "--initial-state", "--keep-stored", "nowhere")
    assert refused.exit_code != 0
    assert "leave out --keep-stored nowhere" in " ".join(refused.output.split())
    report = MetaGraphReport((), 0, 0, {}, initial_states=("h",), kept_stored=("memory",))
    manifest = published_as(
        replace(conversion(), meta_graph=report), "cli-state", 1, datetime.now(timezone.utc)
    )
    with results.capture() as shown:
        results.print(tables.manifest_table(manifest))
    assert "h: each request begins anew" in shown.get()
    assert "memory: as stored, as asked" in shown.get()


def test_adopt_and_verify_speak_both_languages(exporter: RunningExporter) -> None:
    address = ("--address", exporter.address)
    adopted = run("adopt", "cli-adopted", "--graph", "multi.pb", *address)
    assert adopted.exit_code == 0
    assert "Card_1/probs:0" in adopted.stdout
    verified = json.loads(run("verify", "cli-adopted", *address, "--json").stdout)
    assert verified["passed"] is True
    table = run("verify", "cli-adopted", "1", *address)
    assert "Card_1 with Card_0" in table.stdout
    missing = run("verify", "cli-unheard", *address)
    assert missing.exit_code == ExitCode.NOT_FOUND
    assert "no model cli-unheard" in missing.stderr


def test_a_probe_comes_from_a_file(exporter: RunningExporter, tmp_path: Path) -> None:
    np.save(tmp_path / "probe.npy", np.zeros((2, 32, 32, 3), np.float32))
    np.savez(tmp_path / "wrong.npz", other=np.zeros((2, 32, 32, 3), np.float32))
    done = convert(exporter, "cli-probe", "--probe", str(tmp_path / "probe.npy"), "--json")
    probes = {one["probe"] for one in json.loads(done.stdout)["parity"]["comparisons"]}
    assert "caller" in probes
    wrong = convert(exporter, "cli-probe", "--probe", str(tmp_path / "wrong.npz"))
    assert wrong.exit_code == 1
    assert "the probe has other: the graph takes input" in wrong.stderr
    none = convert(exporter, "cli-probe", "--probe", str(tmp_path / "none.npy"))
    assert none.exit_code == 2


def test_class_labels_come_from_a_file_and_stand_in_table_and_manifest(
    exporter: RunningExporter, tmp_path: Path
) -> None:
    labels = ["[/red]", ":cat:", "two", *"3456789"]
    (tmp_path / "labels.txt").write_text("\n".join(labels) + "\n")
    (tmp_path / "nine.txt").write_text("\n".join(labels[:9]) + "\n")
    option = ("--class-labels", str(tmp_path / "labels.txt"))
    done = convert(exporter, "cli-labels", *option)
    assert done.exit_code == 0
    assert "10: [/red], :cat:, two, ..." in done.stdout
    adopted = run(
        "adopt", "cli-labels", "--graph", "multi.pb", "--address", exporter.address, *option,
        "--json",
    )  # fmt: skip
    assert json.loads(adopted.stdout)["class_labels"] == labels
    store = ArtifactStore(str(exporter.store))
    assert [store.manifest("cli-labels", n).class_labels for n in (1, 2)] == [tuple(labels)] * 2
    short = convert(exporter, "cli-labels", "--class-labels", str(tmp_path / "nine.txt"))
    assert short.exit_code == 1
    assert "there are 9 class labels, and densenet has 10 classes" in short.stderr


@pytest.mark.parametrize(
    "command", [("convert", "--checkpoint", "c", *DIGITS), ("adopt", "--graph", "g")]
)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read class labels from"),
        (b"a\n\nb\n", "labels.txt, line 2: the class label is blank"),
        (b"\xff\n", "labels.txt, line 1: not UTF-8"),
    ],
)
def test_a_file_of_labels_that_cannot_be_used_is_one_line_and_nothing_is_sent(
    tmp_path: Path, command: tuple[str, ...], content: bytes | None, words: str
) -> None:
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_bytes(content)
    nowhere = ("--address", "127.0.0.1:1")
    done = run(command[0], "m", *command[1:], "--class-labels", str(path), *nowhere)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--output", "prob"), "no tensor prob:0 to take as output"),
        (("--input", "a b"), "inputs.0"),
        (("--bind", "nowhere=1"), "no tensor nowhere:0"),
        (("--key-map", "a(b=c"), "position 1"),
        (("--key-map", "nothing"), "has no `=`"),
        (("--set", "nonsense=1"), "it takes bindings"),
        (("--augmentation", "training"), "a training graph brings its own"),
        (
            ("--augmentation", "training", "--parity", "end-to-end"),
            "another answer on every call",
        ),
    ],
)
def test_an_option_that_does_not_fit_is_one_line(
    exporter: RunningExporter, options: tuple[str, ...], words: str
) -> None:
    done = meta(exporter, "cli-error", *options)
    assert done.exit_code == 1
    assert words in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("option", [("--bind", "x"), ("--shape", "x"), ("--set", "=1")])
def test_a_setting_without_a_value_is_a_usage_error(
    exporter: RunningExporter, option: tuple[str, str]
) -> None:
    assert meta(exporter, "cli-usage", *option).exit_code == 2


@pytest.mark.parametrize(
    ("options", "words", "code"),
    [
        (("--checkpoint", "../up"), "is outside the folders", 1),
        (("--growth-rate", "0"), "growth_rate is 0", 1),
        (("--version", "-1"), "'--version': Input should be greater than or equal to 1", 2),
        (("--version", "99999999999999999999"), "the request cannot be sent", 1),
        (("--cards", "65"), "'--cards': Input should be less than or equal to 64", 2),
        (("--checkpoint", "nowhere"), "nowhere", 4),
        (
            ("--address", "127.0.0.1:1"),
            "nothing listens on 127.0.0.1:1: is `pbexport serve` running?",
            3,
        ),
        (("--address", "nonsense"), "'nonsense' is not an address: write host:port", 2),
        (("--cards", "0"), "'--cards': Input should be greater than or equal to 1", 2),
        (("--tolerance", "0"), "0 is not above 0 and at most 0.01", 2),
        (("--tolerance", "2"), "2 is not above 0 and at most 0.01", 2),
        (("--tolerance", "nan"), "nan is not above 0 and at most 0.01", 2),
        (("--version", "0"), "'--version': Input should be greater than or equal to 1", 2),
        (("--architecture", "densenet16"), "did you mean 'densenet169'", 4),
        (("--timeout", "0.001"), "deadline", 3),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    exporter: RunningExporter, options: tuple[str, str], words: str, code: int
) -> None:
    done = convert(exporter, "cli-error", *options)
    assert done.exit_code == code
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


@pytest.mark.parametrize(
    "options",
    [("--layers", "3,x"), ("--mean", "a"), ("--image-size", "1x2x3"), ("--device", "tpu")],
)
def test_a_usage_error_is_exit_code_2(exporter: RunningExporter, options: tuple[str, str]) -> None:
    assert convert(exporter, "cli-usage", *options).exit_code == 2


def test_settings_come_from_the_environment_as_well() -> None:
    done = run("list", env={"PBEXPORT_ADDRESS": "127.0.0.1:1"})
    assert done.exit_code == ExitCode.UNAVAILABLE
    assert "127.0.0.1:1" in done.stderr


@pytest.mark.parametrize(
    ("options", "words", "code"),
    [
        (("--listen", "nowhere"), "write host:port", 2),
        (("--listen", "127.0.0.1:0", "--store", "nope://x"), "cannot open the store nope://x", 3),
    ],
)
def test_serve_says_why_it_cannot_start(
    tmp_path: Path, options: tuple[str, ...], words: str, code: int
) -> None:
    command = [sys.executable, "-m", "exporter_service", "serve", "--store", "models", *options]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_root_that_is_not_there_yet_is_a_warning(tmp_path: Path) -> None:
    options = ("--store", str(tmp_path / "models"), "--checkpoint-root", str(tmp_path / "later"))
    with running("exporter_service", *options, log=tmp_path / "log") as service:
        (tmp_path / "later").mkdir()
        shutil.copytree(GOLDEN / "ckpt_noema", tmp_path / "later" / "run")
        done = run("inspect", "run", "--address", service.address)
    assert done.exit_code == 0
    assert "checkpoint_root_missing" in service.log.read_text()
