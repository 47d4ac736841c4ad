from __future__ import annotations

from pathlib import Path

import pytest

from exporter_service.checkpoints.roots import CheckpointRoots
from service_kit import errors


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "run").mkdir(parents=True)
    return folder


def refusal(root: Path, path: str) -> str:
    with pytest.raises(errors.CheckpointNotFound) as caught:
        CheckpointRoots([root]).locate(path)
    return str(caught.value)


def test_the_only_checkpoint_of_a_folder_without_state_file_is_named(root: Path) -> None:
    (root / "run" / "model.ckpt-7.index").touch()
    assert refusal(root, "run") == (
        "there is no checkpoint at run: looked for run/checkpoint; "
        "it has no state file: give run/model.ckpt-7"
    )
    assert refusal(root / "run", ".").endswith("give model.ckpt-7")


def test_several_are_named_the_latest_first(root: Path) -> None:
    for step in (90, 100, 7):
        (root / "run" / f"model.ckpt-{step}.index").touch()
    (root / "run" / "best.index").touch()
    (root / "run" / "inception_v3.ckpt").touch()
    assert refusal(root, str(root / "run")).endswith(
        "it has no state file: give one of "
        + ", ".join(
            str(root / "run" / name)
            for name in ("model.ckpt-100", "model.ckpt-90", "model.ckpt-7", "best")
        )
        + f", {root}/run/inception_v3.ckpt"
    )


def test_only_ten_are_named(root: Path) -> None:
    for step in range(12):
        (root / "run" / f"model.ckpt-{step}.index").touch()
    message = refusal(root, "run")
    assert "give one of run/model.ckpt-11, " in message
    assert message.endswith("run/model.ckpt-2 and 2 more")


def test_what_is_there_instead_of_the_state_files_or_the_callers_choice_is_named(
    root: Path,
) -> None:
    (root / "run" / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-9"')
    (root / "run" / "model.ckpt-7.index").touch()
    assert refusal(root, "run").endswith(
        "looked for run/checkpoint, model.ckpt-9.index, model.ckpt-9; "
        "its state file leads to none: give run/model.ckpt-7"
    )
    assert refusal(root, "run/model.ckpt-8").endswith(
        "its folder has others: give run/model.ckpt-7"
    )


def test_a_checkpoint_without_its_index_is_said_to_be_incomplete(root: Path) -> None:
    (root / "run" / "model.ckpt-7.meta").touch()
    assert refusal(root, "run/model.ckpt-7").endswith(
        "model.ckpt-7.meta is there, and nothing can be read without model.ckpt-7.index: "
        "copy all files of the checkpoint"
    )
    (root / "run" / "model.ckpt-7.data-00000-of-00001").touch()
    assert "; model.ckpt-7.data-00000-of-00001, model.ckpt-7.meta are there" in refusal(
        root, "run/model.ckpt-7"
    )


def test_a_saved_model_is_answered_with_its_variables(root: Path) -> None:
    (root / "run" / "saved_model.pb").touch()
    assert refusal(root, "run").endswith(
        "this is a SavedModel without variables: give the checkpoint that it was made from"
    )
    (root / "run" / "variables").mkdir()
    (root / "run" / "variables" / "variables.index").touch()
    assert refusal(root, "run").endswith(
        "this is a SavedModel, and its variables are a checkpoint in themselves: "
        "give run/variables/variables"
    )


def test_variables_outside_the_roots_are_not_looked_at(root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "variables.index").touch()
    (root / "run" / "saved_model.pb").touch()
    (root / "run" / "variables").symlink_to(outside)
    assert "SavedModel without variables" in refusal(root, "run")


def test_the_state_file_itself_is_answered_with_its_folder(root: Path) -> None:
    (root / "run" / "checkpoint").touch()
    assert refusal(root, "run/checkpoint").endswith(
        "this is the state file of a folder: give the folder, run"
    )


def test_the_folder_above_a_root_is_not_looked_at(root: Path) -> None:
    (root.parent / "root.meta").touch()
    (root / "checkpoint").write_text('model_checkpoint_path: ""')
    assert "root.meta" not in refusal(root, ".")


def test_nothing_is_advised_where_nothing_is(root: Path) -> None:
    assert refusal(root, "run").endswith("looked for run/checkpoint")
    assert refusal(root, "nowhere/model").endswith("looked for model.index, model")
