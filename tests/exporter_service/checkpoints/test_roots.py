from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter_service.checkpoints.bundle_index import TABLE_MAGIC
from exporter_service.checkpoints.roots import CheckpointRoots
from service_kit import errors
from service_kit.artifacts.manifest import CheckpointFormat
from tests.support.digits import GOLDEN


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def v2(folder: Path, name: str = "model.ckpt-7") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    # What is looked at before TensorFlow does is the end of the file.
    (folder / f"{name}.index").write_bytes(TABLE_MAGIC)
    (folder / f"{name}.data-00000-of-00001").touch()
    return folder / name


def state(folder: Path, path: str) -> None:
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{path}"\n')


@pytest.mark.parametrize(
    ("name", "format_", "step"),
    [
        ("ckpt_ema", CheckpointFormat.V2, 300),
        ("ckpt_ema/model.ckpt-300", CheckpointFormat.V2, 300),
        ("ckpt_sharded", CheckpointFormat.V2, 300),
        ("ckpt_v1", CheckpointFormat.V1, 60),
        ("ckpt_v1/model.ckpt-60", CheckpointFormat.V1, 60),
    ],
)
def test_finds_directories_and_prefixes(name: str, format_: CheckpointFormat, step: int) -> None:
    found = CheckpointRoots([GOLDEN]).locate(name)
    assert (found.format, found.global_step) == (format_, step)
    assert found.index.is_file()


def test_an_absolute_path_below_a_root_is_as_good(root: Path) -> None:
    prefix = v2(root)
    assert CheckpointRoots([root]).locate(str(prefix)).prefix == prefix


def test_every_root_is_looked_at(tmp_path: Path) -> None:
    roots = [tmp_path / "a", tmp_path / "b"]
    roots[0].mkdir()
    prefix = v2(roots[1] / "run")
    assert CheckpointRoots(roots).locate("run/model.ckpt-7").prefix == prefix


def test_a_path_from_the_services_own_folder_works_below_a_root(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    v2(root / "run")
    monkeypatch.chdir(root.parent)
    assert CheckpointRoots([Path("root")]).locate("root/run/model.ckpt-7").global_step == 7


def test_a_prefix_without_a_number_has_no_step(root: Path) -> None:
    v2(root, "model")
    assert CheckpointRoots([root]).locate("model").global_step is None


def test_a_state_file_with_the_trainers_absolute_path_still_leads_here(root: Path) -> None:
    v2(root / "run")
    state(root / "run", "/home/trainer/run/model.ckpt-7")
    assert CheckpointRoots([root]).locate("run").global_step == 7


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../outside", "..", "/"])
def test_a_path_out_of_the_roots_is_refused_whether_it_exists_or_not(root: Path, path: str) -> None:
    v2(root.parent / "outside")
    with pytest.raises(errors.OutsideRoots, match="outside the folders"):
        CheckpointRoots([root]).locate(path)


def test_symlinks_out_of_the_roots_are_refused(root: Path) -> None:
    secret = v2(root.parent / "secret")
    (root / "link").symlink_to(secret.parent)
    (root / "file.index").symlink_to(secret.with_name("model.ckpt-7.index"))
    (root / "loop").symlink_to(root / "loop")
    shards = v2(root / "run")
    shards.with_name("model.ckpt-7.data-00000-of-00001").unlink()
    shards.with_name("model.ckpt-7.data-00000-of-00001").symlink_to(
        secret.with_name("model.ckpt-7.data-00000-of-00001")
    )
    other = root.parent / "other"
    other.mkdir()
    for roots in ([root], [root, other], [other, root]):
        for path in ("link/model.ckpt-7", "link", "file", "loop", "run/model.ckpt-7"):
            with pytest.raises(errors.OutsideRoots):
                CheckpointRoots(roots).locate(path)


@pytest.mark.parametrize("named", ["../../secret/model.ckpt-7", "../secret/model.ckpt-7"])
def test_a_state_file_cannot_point_out_of_the_roots(root: Path, named: str) -> None:
    v2(root.parent / "secret")
    (root / "run").mkdir()
    state(root / "run", named)
    with pytest.raises((errors.OutsideRoots, errors.CheckpointNotFound)) as caught:
        CheckpointRoots([root]).locate("run")
    assert isinstance(caught.value, errors.OutsideRoots) == named.startswith("../../")


def test_a_state_file_that_is_a_symlink_out_is_refused(root: Path) -> None:
    (root.parent / "elsewhere").write_text('model_checkpoint_path: "x"')
    (root / "run").mkdir()
    (root / "run" / "checkpoint").symlink_to(root.parent / "elsewhere")
    with pytest.raises(errors.OutsideRoots):
        CheckpointRoots([root]).locate("run")


def test_says_what_was_looked_for(root: Path) -> None:
    (root / "empty").mkdir()
    for path, looked_for in (
        ("model.ckpt-9", "model.ckpt-9.index"),
        ("empty", "empty/checkpoint"),
        ("a" * 300, "too long"),
    ):
        with pytest.raises(errors.CheckpointNotFound, match=looked_for):
            CheckpointRoots([root]).locate(path)


def test_a_state_file_that_names_nothing_is_said_to(root: Path) -> None:
    (root / "checkpoint").write_text("all_model_checkpoint_paths: 'x'")
    with pytest.raises(errors.CheckpointNotFound, match="names no model_checkpoint_path"):
        CheckpointRoots([root]).locate(".")


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001", ".meta"])
def test_one_file_of_a_checkpoint_is_answered_with_its_prefix(root: Path, suffix: str) -> None:
    v2(root)
    (root / "model.ckpt-7.meta").touch()
    with pytest.raises(errors.InvalidRequest, match=r"give its prefix, model\.ckpt-7$"):
        CheckpointRoots([root]).locate(f"model.ckpt-7{suffix}")


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_what_cannot_be_a_path_is_invalid(root: Path, path: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        CheckpointRoots([root]).locate(path)


@given(st.text(max_size=60))
def test_no_text_makes_anything_but_a_clear_error(path: str) -> None:
    with pytest.raises(errors.PbserveError):
        CheckpointRoots([GOLDEN / "ckpt_ema" / "nowhere"]).locate(path)


def test_a_decoy_does_not_hide_a_data_file_that_leads_out(root: Path) -> None:
    secret = v2(root.parent / "secret")
    prefix = v2(root)
    real = prefix.with_name("model.ckpt-7.data-00000-of-00001")
    real.unlink()
    real.symlink_to(secret.with_name(real.name))
    prefix.with_name("model.ckpt-7.data-00000-of-00002").touch()
    with pytest.raises(errors.OutsideRoots):
        CheckpointRoots([root]).locate("model.ckpt-7")


@pytest.mark.parametrize("text", [r"a\x", r"\u12", r"a\000b"])
def test_a_state_file_of_noise_is_not_found(root: Path, text: str) -> None:
    state(root, text)
    with pytest.raises(errors.CheckpointNotFound):
        CheckpointRoots([root]).locate(".")


def test_a_path_that_tensorflow_would_take_for_a_pattern_is_refused(root: Path) -> None:
    v2(root / "run[1]")
    (root / "run[1]" / "model.ckpt-60").touch()
    for name in ("model.ckpt-60", "model.ckpt-7"):
        with pytest.raises(errors.InvalidRequest, match="rename it"):
            CheckpointRoots([root]).locate(f"run[1]/{name}")


@pytest.mark.parametrize("name", ["model.ckpt-7", "."])
def test_a_placeholder_in_the_place_of_the_index_is_damage(root: Path, name: str) -> None:
    v2(root).with_name("model.ckpt-7.index").write_bytes(
        b"version https://git-lfs.github.com/spec/v1"
    )
    state(root, "model.ckpt-7")
    with pytest.raises(
        errors.CheckpointCorrupt,
        match=r"model\.ckpt-7\.index cannot be read as a checkpoint: it is a Git LFS pointer; "
        "run `git lfs pull`",
    ):
        CheckpointRoots([root]).locate(name)


def test_a_placeholder_in_the_place_of_the_state_file_is_damage(root: Path) -> None:
    v2(root)
    (root / "checkpoint").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(
        errors.CheckpointCorrupt,
        match=r"\./checkpoint is a Git LFS pointer: .*give the checkpoint's prefix",
    ):
        CheckpointRoots([root]).locate(".")


def test_a_file_of_another_kind_is_the_wrong_path(root: Path) -> None:
    (root / "net.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    with pytest.raises(errors.InvalidRequest, match=r"net\.h5 .* it is an HDF5 file, as Keras"):
        CheckpointRoots([root]).locate("net.h5")


def test_what_lies_outside_is_refused_before_a_byte_of_it_is_read(root: Path) -> None:
    (root.parent / "secret.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (root / "link").symlink_to(root.parent / "secret.h5")
    (root / "model.index").symlink_to(root.parent / "secret.h5")
    for path in ("link", "model"):
        with pytest.raises(errors.OutsideRoots):
            CheckpointRoots([root]).locate(path)


@pytest.mark.parametrize("suffix", [".data-00000-of-00001", ".meta"])
def test_one_file_without_its_index_is_answered_with_both(root: Path, suffix: str) -> None:
    (root / "run").mkdir()
    (root / "run" / f"model.ckpt-7{suffix}").touch()
    with pytest.raises(
        errors.InvalidRequest,
        match=r"give its prefix, run/model\.ckpt-7; nothing can be read without "
        r"model\.ckpt-7\.index, which is not there",
    ):
        CheckpointRoots([root]).locate(f"run/model.ckpt-7{suffix}")


def test_one_file_of_a_v1_checkpoint_is_answered_with_its_prefix() -> None:
    with pytest.raises(errors.InvalidRequest, match=r"give its prefix, ckpt_v1/model\.ckpt-60$"):
        CheckpointRoots([GOLDEN]).locate("ckpt_v1/model.ckpt-60.meta")


@pytest.mark.parametrize("name", ["ckpt_ema", "ckpt_v1", "ckpt_sharded"])
def test_a_checkpoint_with_more_bytes_than_allowed_is_refused(name: str) -> None:
    size = sum(path.stat().st_size for path in (GOLDEN / name).glob("model.ckpt-*"))
    CheckpointRoots([GOLDEN], size).locate(name)
    with pytest.raises(errors.CheckpointTooLarge, match=f"{name} has {size} bytes"):
        CheckpointRoots([GOLDEN], size - 1).locate(name)


def test_what_others_are_told_of_a_checkpoint_begins_below_its_root(tmp_path: Path) -> None:
    folder = tmp_path / "secret" / "run"
    folder.mkdir(parents=True)
    roots = CheckpointRoots([tmp_path / "elsewhere", tmp_path / "secret"])
    assert roots.shown(folder / "model.ckpt-3") == "run/model.ckpt-3"
    inner = CheckpointRoots([tmp_path / "secret", folder])
    assert inner.shown(folder / "model.ckpt-3") == "model.ckpt-3"
