from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exporter_service.checkpoints.checkpoint import Checkpoint
from exporter_service.checkpoints.roots import CheckpointRoots
from service_kit import errors
from service_kit.artifacts.manifest import CheckpointFormat
from tests.support.digits import GOLDEN

Copy = Callable[[str], Path]


@pytest.fixture
def copied(tmp_path: Path) -> Copy:
    def copy(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(GOLDEN / name, folder)
        return folder

    return copy


def opened(folder: Path) -> Checkpoint:
    return Checkpoint(CheckpointRoots([folder]).locate("."))


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "count", "format_"),
    [
        ("ckpt_ema", 343, CheckpointFormat.V2),
        ("ckpt_noema", 122, CheckpointFormat.V2),
        ("ckpt_v1", 343, CheckpointFormat.V1),
        ("ckpt_sharded", 195, CheckpointFormat.V2),
    ],
)
def test_reads_every_format(name: str, count: int, format_: CheckpointFormat) -> None:
    checkpoint = opened(GOLDEN / name)
    assert len(checkpoint.tensors) == count
    assert checkpoint.origin.format is format_
    assert checkpoint.shapes["densenet_digits/conv1/weights"] == (7, 7, 3, 16)
    assert checkpoint.tensors["global_step"].dtype == "int64"
    values = checkpoint.read(["densenet_digits/logits/biases", "global_step"])
    assert values["densenet_digits/logits/biases"].shape == (10,)
    assert values["global_step"] == checkpoint.origin.global_step


def test_shards_hold_the_same_values_as_one_file() -> None:
    one, two = opened(GOLDEN / "ckpt_ema"), opened(GOLDEN / "ckpt_sharded")
    left, right = one.read(two.tensors), two.read(two.tensors)
    for key in two.tensors:
        np.testing.assert_array_equal(left[key], right[key])


def test_a_flipped_bit_names_tensor_and_shard(copied: Copy) -> None:
    folder = copied("ckpt_sharded")
    flip(folder / "model.ckpt-300.data-00001-of-00002", 5000)
    checkpoint = opened(folder)
    with pytest.raises(errors.CheckpointCorrupt) as caught:
        checkpoint.read(checkpoint.tensors)
    message = str(caught.value)
    assert "tensor densenet_digits/conv1/weights/ExponentialMovingAverage" in message
    assert "model.ckpt-300.data-00001-of-00002 (shard 1)" in message
    assert "Checksum does not match" in message


def test_a_truncated_shard_names_tensor_and_shard(copied: Copy) -> None:
    folder = copied("ckpt_sharded")
    os.truncate(folder / "model.ckpt-300.data-00001-of-00002", 90_000)
    checkpoint = opened(folder)
    with pytest.raises(
        errors.CheckpointCorrupt,
        match=r"tensor densenet_digits/.* of model\.ckpt-300\.data-00001-of-00002 \(shard 1\), "
        r"which has 90000 bytes: the file is truncated",
    ):
        checkpoint.read(checkpoint.tensors)


def test_a_missing_shard_names_tensor_and_shard(copied: Copy) -> None:
    folder = copied("ckpt_sharded")
    (folder / "model.ckpt-300.data-00000-of-00002").unlink()
    checkpoint = opened(folder)
    with pytest.raises(errors.CheckpointCorrupt, match="lies in shard 0, and there is no file"):
        checkpoint.read(checkpoint.tensors)


def test_a_damaged_index_is_named(copied: Copy) -> None:
    folder = copied("ckpt_sharded")
    flip(folder / "model.ckpt-300.index", 3000)
    with pytest.raises(errors.CheckpointCorrupt, match=r"model\.ckpt-300\.index cannot be read"):
        opened(folder)


@pytest.mark.parametrize("size", [0, 10, 3000, 9192])
def test_a_truncated_index_is_named(copied: Copy, size: int) -> None:
    folder = copied("ckpt_sharded")
    location = CheckpointRoots([folder]).locate(".")
    os.truncate(location.index, size)
    with pytest.raises(errors.CheckpointCorrupt, match=r"model\.ckpt-300\.index cannot be read"):
        opened(folder)
    # The same between the server's look at it and the process that opens it.
    with pytest.raises(errors.CheckpointCorrupt, match=r"model\.ckpt-300\.index cannot be read"):
        Checkpoint(location)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 160232\n", "a Git LFS"),
        (b"<!DOCTYPE html><html>" + b"x" * 200_000, "a web page"),
        (b"", "empty; copy it again"),
    ],
    ids=["lfs", "html", "empty"],
)
def test_what_lies_in_the_place_of_a_shard_is_named(
    copied: Copy, content: bytes, kind: str
) -> None:
    folder = copied("ckpt_sharded")
    (folder / "model.ckpt-300.data-00001-of-00002").write_bytes(content)
    checkpoint = opened(folder)
    with pytest.raises(
        errors.CheckpointCorrupt,
        match=r"tensor densenet\S+ should be in model\.ckpt-300\.data-00001-of-00002, which is "
        + kind,
    ):
        checkpoint.read(checkpoint.tensors)


@pytest.mark.parametrize("size", [0, 100, 300_000])
def test_a_truncated_v1_file_is_named(copied: Copy, size: int) -> None:
    folder = copied("ckpt_v1")
    os.truncate(folder / "model.ckpt-60", size)
    with pytest.raises(errors.CheckpointCorrupt, match=r"model\.ckpt-60 cannot be read"):
        opened(folder)


def test_a_v1_file_with_a_flipped_bit_is_noticed(copied: Copy) -> None:
    folder = copied("ckpt_v1")
    flip(folder / "model.ckpt-60", 400_000)
    checkpoint = opened(folder)
    with pytest.raises(
        errors.CheckpointCorrupt,
        match=r"tensor densenet_digits/\S+ cannot be read from model\.ckpt-60, whose index has it, "
        "so its values are damaged",
    ):
        checkpoint.read(checkpoint.tensors)


def test_a_directory_of_the_prefixs_name_is_not_followed(copied: Copy, tmp_path: Path) -> None:
    inside, outside = copied("ckpt_noema"), copied("ckpt_ema")
    (inside / "model.ckpt-120").mkdir()
    (inside / "model.ckpt-120" / "checkpoint").write_text(
        f'model_checkpoint_path: "{outside}/model.ckpt-300"'
    )
    checkpoint = opened(inside)
    assert len(checkpoint.tensors) == 122
    assert checkpoint.read(["global_step"])["global_step"] == 120


def test_a_stale_shard_beside_a_whole_checkpoint_does_not_matter(copied: Copy) -> None:
    folder = copied("ckpt_noema")
    (folder / "model.ckpt-120.data-00000-of-00002").touch()
    checkpoint = opened(folder)
    assert checkpoint.shard_count == 1
    assert len(checkpoint.read(checkpoint.tensors)) == 122
