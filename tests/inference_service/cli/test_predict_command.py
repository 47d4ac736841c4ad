from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from inference_service.cli import answer_reports
from inference_service.cli.app import app
from inference_service.cli.inputs import image_files, image_stream
from service_kit.cli.exit_codes import ExitCode
from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import MeanEngine, pixels
from tests.support.inference_server import InferenceServer, inference_server
from tests.support.manifests import conversion, graph_file


def predict(server: InferenceServer, *arguments: object, model: str = "m") -> Any:
    command = ("predict", model, "--address", server.address, *map(str, arguments))
    return CliRunner().invoke(app, command)


def started(server: InferenceServer, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "inference_service", "predict", "m"),
            *("--address", server.address, *map(str, arguments)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines(done: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def png(path: Path, value: int, size: tuple[int, int] = (2, 2)) -> Path:
    # Red is the answer's first class, blue its third.
    Image.new("RGB", size, (value, 0, 7)).save(path, "PNG")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures"
    (pictures / "below.png").mkdir(parents=True)
    png(pictures / "below.png" / "deep.png", 99)
    png(pictures / "b.PNG", 20)
    png(pictures / "a.png", 10)
    Image.new("RGB", (2, 2), (40, 0, 7)).save(pictures / "c.jpeg", "JPEG", quality=100)
    png(pictures / ".hidden.png", 98)
    (pictures / "notes.txt").write_text("no image")
    return pictures


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


def test_prints_one_json_object_a_line_in_order(server: InferenceServer, archive: Path) -> None:
    server.publish(b"5")
    done = predict(server, "--npz", archive, "--json")
    assert done.exit_code == 0
    found = lines(done)
    assert [line["index"] for line in found] == list(range(20))
    assert [line["name"] for line in found][:2] == ["images[0]", "images[1]"]
    assert [line["outputs"]["probs"][0] for line in found] == [n + 5 for n in range(20)]
    assert {line["version"] for line in found} == {1}
    assert {line["card"] for line in found} == {0, 1}
    assert found[0].keys() == {
        *("index", "name", "outputs", "card", "version", "batch_size"),
        *("queue_seconds", "compute_seconds"),
    }


def test_a_folder_gives_its_own_images_sorted_and_nothing_else(
    server: InferenceServer, folder: Path, tmp_path: Path
) -> None:
    server.publish()
    last = png(tmp_path / "no-ending", 50)
    done = predict(server, folder, last, "--json")
    assert done.exit_code == 0
    assert [Path(line["name"]).name for line in lines(done)] == [
        *("a.png", "b.PNG", "c.jpeg"),
        "no-ending",
    ]
    reds = [line["outputs"]["probs"][0] for line in lines(done)]
    assert reds == pytest.approx([10, 20, 40, 50], abs=2)


def test_a_folder_without_images_is_an_error_before_anything_is_sent(
    server: InferenceServer, folder: Path, tmp_path: Path
) -> None:
    server.publish()
    (tmp_path / "empty").mkdir()
    done = predict(server, folder, tmp_path / "empty", "--json")
    assert (done.exit_code, done.stdout) == (ExitCode.FAILED, "")
    assert "empty holds no images" in done.stderr
    assert server.engines[0].batches == []


def test_a_table_shows_the_best_class_of_each_image_and_its_card(
    server: InferenceServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish()
    monkeypatch.chdir(folder)
    done = predict(server, ".", "--card", "1")
    assert done.exit_code == 0
    head, _, *rows = done.stdout.splitlines()
    assert head.split() == ["image", "class", "label", "probability", "card", "version", "ms"]
    assert [row.split()[1:5] for row in rows] == [
        ["0", "10.00000", "1", "1"],
        ["0", "20.00000", "1", "1"],
        ["0", "40.00000", "1", "1"],
    ]


def test_more_classes_are_ranked_below_each_other_and_files_fitted(
    server: InferenceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish()
    monkeypatch.chdir(tmp_path)
    files = [png(Path(f"{value}.png"), value, (9, 5)) for value in (3, 200)]
    done = predict(server, *files, "--fit", "crop", "--top", "2", "--json", "--bulk")
    assert [[one["index"] for one in line["top"]] for line in lines(done)] == [[2, 0], [0, 2]]
    assert lines(done)[1]["top"][0]["score"] == 200
    table = predict(server, *files, "--fit", "crop", "--top", "2")
    assert len(table.stdout.splitlines()) == 2 + 4
    exact = predict(server, files[0])
    assert exact.exit_code == ExitCode.FAILED
    assert "3.png: image 0 of input 'input' has height 5 and width 9" in exact.stderr


def test_csv_has_a_line_a_class_or_an_element(server: InferenceServer, tmp_path: Path) -> None:
    server.publish()
    name = png(tmp_path / 'a,"b".png', 9)
    ranked = list(csv.reader(io.StringIO(predict(server, name, "--csv", "--top", "2").stdout)))
    columns = ["name", "rank", "class", "label", "score", "card", "version", "compute_ms"]
    assert ranked[0] == columns
    assert [row[:5] for row in ranked[1:]] == [
        [str(name), "1", "0", "", "9.0"],
        [str(name), "2", "2", "", "7.0"],
    ]
    raw = list(csv.DictReader(io.StringIO(predict(server, name, "--csv", "--top", "0").stdout)))
    assert [(row["output"], row["element"], row["value"]) for row in raw] == [
        ("probs", "0", "9.0"),
        ("probs", "1", "0.0"),
        ("probs", "2", "7.0"),
    ]


def test_files_that_fail_cost_themselves_and_the_exit_code_says_so(
    server: InferenceServer, folder: Path, tmp_path: Path
) -> None:
    server.publish()
    (folder / "aa.png").write_bytes(b"no image")
    (folder / "ab.png").write_bytes(b"")
    (folder / "ac.png").touch(mode=0o000)
    done = predict(server, folder, tmp_path / "none.png", "--json")
    assert done.exit_code == ExitCode.PARTLY
    found = lines(done)
    names = [Path(line["name"]).name for line in found]
    assert names == ["a.png", "aa.png", "ab.png", "ac.png", "b.PNG", "c.jpeg", "none.png"]
    failed = {Path(line["name"]).name for line in found if "error" in line}
    # Root reads what nobody may.
    assert failed - {"ac.png"} == {"aa.png", "ab.png", "none.png"}
    assert "aa.png: image 0 of input 'input' does not decode as JPEG or PNG" in done.stderr
    assert "none.png: cannot be read: No such file or directory" in done.stderr
    assert f"{len(failed)} of 7 images failed; the others were answered" in done.stderr


def test_where_all_images_fail_the_exit_code_is_1(server: InferenceServer, tmp_path: Path) -> None:
    server.publish()
    done = predict(server, tmp_path / "none.png")
    assert done.exit_code == ExitCode.FAILED
    assert "none.png: cannot be read" in done.stderr


def test_an_image_that_the_engine_fails_on_is_named(
    server: InferenceServer, tmp_path: Path
) -> None:
    server.publish()
    np.savez(tmp_path / "poison.npz", images=pixels(1, 2, MeanEngine.poison))
    done = predict(server, "--npz", tmp_path / "poison.npz", "--card", "0", "--json")
    assert done.exit_code == ExitCode.PARTLY
    assert "error: images[2]: " in done.stderr
    assert [line.get("error", {}).get("reason") for line in lines(done)] == [
        *(None, None),
        "ENGINE_FAILED",
    ]


def test_a_message_that_is_too_large_costs_its_image_alone(
    server: InferenceServer, tmp_path: Path
) -> None:
    """The server of the tests takes 1 MiB, and ends a stream that brings more."""
    server.publish()
    files = [png(tmp_path / f"{n}.png", n) for n in range(40)]
    files[20].write_bytes(files[20].read_bytes() + bytes(2**20))
    done = predict(server, *files, "--json", "--window", "8")
    assert done.exit_code == ExitCode.PARTLY
    found = lines(done)
    assert [line["index"] for line in found] == list(range(40))
    assert [line["index"] for line in found if "error" in line] == [20]
    assert "larger than max" in found[20]["error"]["message"]
    assert found[39]["outputs"]["probs"][0] == 39


def test_a_file_that_no_server_takes_is_not_read_further(
    server: InferenceServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.publish()
    monkeypatch.setattr(image_files, "LARGEST_BYTES", 2**16)
    done = predict(server, "/dev/zero", png(tmp_path / "a.png", 3), "--json")
    assert done.exit_code == ExitCode.PARTLY
    assert "/dev/zero: has more than" in done.stderr


def test_images_are_read_when_their_turn_comes(
    server: InferenceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the engine at a stand, no more is read than the window and the bytes allow."""
    server.publish()
    files = [png(tmp_path / f"{n:03}.png", n) for n in range(60)]
    monkeypatch.setattr(image_stream, "_MAX_BYTES", 5 * files[0].stat().st_size)
    reads, enough = [], threading.Event()
    real = image_files.read_image

    def counted(path: Path) -> bytes:
        reads.append(path)
        if len(reads) == 6:
            enough.set()
        return real(path)

    monkeypatch.setattr("inference_service.cli.inputs.named_images.read_image", counted)
    engine = server.engines[0]
    engine.gate.clear()
    ended: list[Any] = []
    runner = threading.Thread(target=lambda: ended.append(predict(server, *files, "--json")))
    runner.start()
    assert enough.wait(30)
    assert engine.started.acquire(timeout=30)
    # Five fit, and the sixth waits for room with its content in its hand.
    assert len(reads) == 6
    engine.gate.set()
    runner.join(30)
    assert [line["outputs"]["probs"][0] for line in lines(ended[0])] == list(range(60))
    assert len(reads) == 60


def test_an_archive_of_the_answers_has_a_row_an_image(
    server: InferenceServer, folder: Path, tmp_path: Path
) -> None:
    server.publish(b"5")
    (folder / "aa.png").write_bytes(b"no image")
    result = tmp_path / "results.npz"
    result.write_text("old")
    done = predict(server, folder, "--output", result, "--top", "2")
    assert done.exit_code == ExitCode.PARTLY
    assert done.stdout == f"3 answers are in {result}\n"
    with np.load(result, allow_pickle=False) as archive:
        found = dict(archive)
    assert found["probs"].shape == (3, 3)
    assert found["probs"].dtype == np.float32
    assert found["probs"][:2, 0].tolist() == [15, 25]
    assert [Path(name).name for name in found["names"]] == ["a.png", "b.PNG", "c.jpeg"]
    assert found["versions"].tolist() == [1, 1, 1]
    assert set(found["cards"].tolist()) <= {0, 1}
    assert found["top_classes"].tolist() == [[0, 2]] * 3
    assert found["top_scores"][0].tolist() == [15, 12]
    assert [Path(name).name for name in found["failed_names"]] == ["aa.png"]
    assert "does not decode" in str(found["failed_reasons"][0])
    assert sorted(path.name for path in tmp_path.glob("*results*")) == ["results.npz"]


def test_an_archive_is_whole_or_not_there(server: InferenceServer, tmp_path: Path) -> None:
    server.publish()
    result = tmp_path / "out" / "results.npz"
    result.parent.mkdir()
    files = [png(tmp_path / f"{n}.png", n) for n in range(3)]
    failed = predict(server, *files, "--output", result, "--card", "7")
    assert failed.exit_code == ExitCode.NOT_FOUND
    assert list(result.parent.iterdir()) == []
    nowhere = predict(server, *files, "--output", tmp_path / "no" / "results.npz")
    assert nowhere.exit_code == ExitCode.FAILED
    assert "results.npz cannot be written: No such file or directory" in nowhere.stderr
    folder = predict(server, *files, "--output", result.parent)
    assert folder.exit_code == ExitCode.FAILED
    assert "is a folder: name the file to write" in folder.stderr


def test_a_server_that_answers_nothing_is_waited_for_as_long_as_is_said(
    server: InferenceServer, tmp_path: Path
) -> None:
    server.publish()
    server.engines[0].gate.clear()
    done = predict(server, png(tmp_path / "a.png", 1), "--timeout", "0.2")
    assert done.exit_code == ExitCode.UNAVAILABLE
    assert done.stderr.count("\n") == 1


def test_ctrl_c_leaves_nothing_behind(server: InferenceServer, tmp_path: Path) -> None:
    server.publish()
    engine = server.engines[0]
    engine.gate.clear()
    (tmp_path / "out").mkdir()
    with started(
        server, png(tmp_path / "a.png", 1), "--output", tmp_path / "out" / "r.npz"
    ) as process:
        assert engine.started.acquire(timeout=60)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    engine.gate.set()
    assert (process.returncode, stderr) == (ExitCode.INTERRUPTED, "interrupted\n")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_a_reader_who_has_seen_enough_is_no_error(
    server: InferenceServer, archive: Path, tmp_path: Path, option: str
) -> None:
    server.publish()
    np.savez(tmp_path / "many.npz", images=pixels(*range(5000)))
    with started(server, "--npz", tmp_path / "many.npz", option) as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr
        stderr = process.stderr.read()
        assert (process.wait(60), stderr) == (0, "")


@pytest.mark.parametrize(
    ("options", "words", "code"),
    [
        (["--key", "pictures"], "has no array 'pictures'; it has images, doubles, one, objects", 1),
        (["--key", "one"], "is a single number", 1),
        (["--key", "objects"], "cannot be read as a NumPy archive: it holds Python objects", 1),
        (["--npz", "single.npy"], "holds one array: save it with numpy.savez", 1),
        (["--npz", "damaged.npz"], "cannot be read as a NumPy archive", 1),
        (["--npz", "text.npz", "--key", "images"], "is no array", 1),
        (["--npz", "/nonexistent.npz"], "cannot be read as a NumPy archive", 1),
        (["--key", "doubles"], "is float64; the model takes float32", 1),
        (["--card", "99999999999999999999"], "the request cannot be sent", 1),
        (["--card", "7"], "has no card 7; it has 0, 1", 4),
        (["--version", "7"], "has no version 7; it has 1", 4),
        (["--version", "99999999999999999999"], "has no version 99999999999999999999", 4),
        (["--label", "stable"], "has no label 'stable'; it has none", 4),
        (["--address", "127.0.0.1:1"], "nothing listens on 127.0.0.1:1: is `pbserve serve`", 3),
        (["--address", "http://127.0.0.1:1"], "is a URL: write host:port", 2),
        (["--json"], "--json and --csv: choose one", 2),
        (["image.png"], "name image files and folders, or an archive with --npz", 2),
        (["--window", "0"], "--window", 2),
    ],
)
def test_an_error_is_one_line(
    server: InferenceServer, archive: Path, options: list[str], words: str, code: int
) -> None:
    server.publish()
    options = [str(archive.parent / o) if o.endswith((".npy", ".npz")) else o for o in options]
    done = predict(server, "--npz", archive, "--csv", *options)
    assert done.exit_code == code
    assert done.stdout.count("\n") <= 1  # the names of the columns
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_no_images_at_all_is_a_usage_error(server: InferenceServer) -> None:
    done = predict(server)
    assert done.exit_code == ExitCode.USAGE
    assert "see `root predict --help`" in done.stderr


def test_a_model_that_is_not_there_is_not_found(server: InferenceServer, folder: Path) -> None:
    done = predict(server, folder, model="nothing")
    assert done.exit_code == ExitCode.NOT_FOUND
    assert done.stderr.count("\n") == 1


def test_a_model_that_failed_to_load_is_unavailable_and_says_why(
    server: InferenceServer, folder: Path
) -> None:
    server.publish(b"broken")
    done = predict(server, folder)
    assert done.exit_code == ExitCode.UNAVAILABLE
    assert "m version 1 is FAILED: the graph has no tensor probs:0" in done.stderr


def test_what_a_full_queue_refuses_is_sent_again(
    store: ArtifactStore, tmp_path: Path, archive: Path
) -> None:
    with inference_server(store, tmp_path, queue_images=2) as server:
        server.publish(cards=1)
        done = predict(server, "--npz", archive, "--json")
    assert done.exit_code == 0, done.stderr
    assert [line["index"] for line in lines(done)] == list(range(20))


def test_a_label_names_the_version_that_answers(server: InferenceServer, folder: Path) -> None:
    server.publish(b"0")
    CliRunner().invoke(app, ("label", "m", "old", "1", "--address", server.address))
    server.publish(b"5")
    assert {line["version"] for line in lines(predict(server, folder, "--json"))} == {2}
    done = predict(server, folder, "--json", "--label", "old")
    assert {line["version"] for line in lines(done)} == {1}


def test_long_tables_come_in_pieces(
    server: InferenceServer, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish()
    monkeypatch.setattr(answer_reports, "_TABLE_IMAGES", 8)
    done = predict(server, "--npz", archive)
    assert done.stdout.count("probability") == 3
    assert "images[19]" in done.stdout


def test_names_of_files_cannot_steer_the_terminal(
    server: InferenceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.publish()
    monkeypatch.chdir(tmp_path)
    odd = os.fsdecode(b"\x1b[2J[red]\xff.png")
    png(Path("plain.png"), 9).rename(odd)
    for option in ((), ("--csv",), ("--json",), ("--output", "results.npz")):
        done = predict(server, odd, "none\x1b[2J.png", *option)
        assert done.exit_code == ExitCode.PARTLY
        assert "\x1b" not in done.stdout + done.stderr
    assert "\\x1b[2J[red]\\udcff.png" in predict(server, odd).stdout
    with np.load("results.npz") as archive:
        assert archive["names"].tolist() == [odd]


def test_several_outputs_are_each_named(server: InferenceServer, archive: Path) -> None:
    done = predict(server, "--npz", archive, "--json", model="none")
    assert done.exit_code == ExitCode.NOT_FOUND
    graph = graph_file(server.folder, b"0")
    server.store.publish("m", conversion(b"0", 1), graph)
    server.sync()
    raw = predict(server, "--npz", archive, "--top", "0")
    assert raw.stdout.splitlines()[0].split()[:3] == ["image", "output", "values"]
    assert "[7., 7., 7.]" in raw.stdout
