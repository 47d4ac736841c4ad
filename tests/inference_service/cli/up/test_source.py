from __future__ import annotations

from pathlib import Path

import pytest

from inference_service.cli.up.source import Source, find_source
from service_kit import errors


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_a_directory_with_a_state_file_is_named_as_it_is(tmp_path: Path) -> None:
    run = touch(tmp_path / "My Run_2", "checkpoint", "model.ckpt-1.index", "model.ckpt-2.index")
    assert find_source(run) == Source(tmp_path, "My Run_2", "my-run_2", is_graph=False)
    assert find_source(run, "digits").model == "digits"


def test_a_dot_has_the_name_of_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(touch(tmp_path / "run", "checkpoint"))
    assert find_source(Path()) == Source(tmp_path, "run", "run", is_graph=False)


def test_the_one_checkpoint_of_a_directory_needs_no_state_file(tmp_path: Path) -> None:
    run = touch(tmp_path / "run", "model.ckpt-7.index", "model.ckpt-7.meta")
    assert find_source(run).path == "run/model.ckpt-7"


def test_several_are_listed_to_choose_from(tmp_path: Path) -> None:
    run = touch(tmp_path / "run", *(f"model.ckpt-{step}.index" for step in range(1, 6)))
    with pytest.raises(errors.CheckpointNotFound, match=r"choose one of the 5 .*ckpt-1.* 2 more"):
        find_source(run)


@pytest.mark.parametrize("name", ["model.ckpt-7", "model[1]"])
def test_a_prefix_is_called_after_its_directory(tmp_path: Path, name: str) -> None:
    run = touch(tmp_path / "run", f"{name}.index")
    assert find_source(run / name) == Source(tmp_path, f"run/{name}", "run", is_graph=False)


def test_a_graph_is_called_after_its_file(tmp_path: Path) -> None:
    folder = touch(tmp_path / "run", "Digits v2.pb")
    assert find_source(folder / "Digits v2.pb") == Source(
        folder, "Digits v2.pb", "digits-v2", is_graph=True
    )
    with pytest.raises(errors.CheckpointNotFound, match=r"name the graph itself, .*Digits v2\.pb"):
        find_source(folder)


def test_what_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(errors.CheckpointNotFound, match=r"there is nothing at .*nowhere"):
        find_source(tmp_path / "nowhere")


def test_a_name_that_cannot_be_made_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidRequest, match="give a name with --model"):
        find_source(touch(tmp_path / "数字", "checkpoint"))
