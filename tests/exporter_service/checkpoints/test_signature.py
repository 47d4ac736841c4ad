from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter_service.checkpoints.bundle_index import TABLE_MAGIC
from exporter_service.checkpoints.signature import check_table, foreign_content
from service_kit import errors
from service_kit.artifacts.manifest import CheckpointFormat
from tests.support.digits import GOLDEN

V1, V2 = CheckpointFormat.V1, CheckpointFormat.V2
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2\nsize 160240\n"


def zipped(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 100)
    return content.getvalue()


def tarred() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.ckpt-7.index"))
    return content.getvalue()


def arrays() -> bytes:
    content = io.BytesIO()
    np.savez(content, w=np.zeros(3))
    return content.getvalue()


DAMAGED = {
    "empty; copy it again": b"",
    "a Git LFS pointer; run `git lfs pull`": LFS,
    "a web page or a web server's error; download the file": b"\n <!doctype HTML><html>",
    "a web page or": b'\xef\xbb\xbf<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "cut off or overwritten": (GOLDEN / "ckpt_ema" / "model.ckpt-300.index").read_bytes()[:-1],
}
OTHERS = {
    "an HDF5 file, as Keras writes it": b"\x89HDF\r\n\x1a\n" + b"\0" * 600,
    "a PyTorch file": zipped("archive/data.pkl", "archive/data/0"),
    "a PyTorch file (.pt); export": b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
    "a Keras file (.keras); load it where": zipped("metadata.json", "model.weights.h5"),
    "arrays of NumPy (.npz)": arrays(),
    "a zip archive; unpack it": zipped("model.ckpt-7.index"),
    "a tar archive; unpack it": tarred(),
    "compressed with gzip; unpack it": gzip.compress(tarred()),
    "compressed with bzip2": bz2.compress(tarred()),
    "compressed with xz": lzma.compress(tarred()),
    "a TensorFlow graph (.pb); a frozen graph needs no checkpoint, publish it with `pbexport":
        (GOLDEN / "single.pb").read_bytes(),
    "the graph of a SavedModel; its variables": b"\x08\x01\x12\xf4\x2d\x0a\x33",
    "neither the index of a V2 checkpoint nor a V1": np.random.default_rng(3).bytes(5000),
}  # fmt: skip


@pytest.mark.parametrize("format_", [V1, V2])
@pytest.mark.parametrize("said", DAMAGED)
def test_lost_content_is_damage(tmp_path: Path, said: str, format_: CheckpointFormat) -> None:
    path = tmp_path / "model.ckpt-7"
    path.write_bytes(DAMAGED[said])
    with pytest.raises(errors.CheckpointCorrupt) as caught:
        check_table(path, format_)
    assert f"model.ckpt-7 cannot be read as a checkpoint: it is {said}" in str(caught.value)


@pytest.mark.parametrize("said", OTHERS)
def test_a_file_of_another_kind_is_named(tmp_path: Path, said: str) -> None:
    path = tmp_path / "model.ckpt-7"
    path.write_bytes(OTHERS[said])
    for format_, kind in ((V1, errors.InvalidRequest), (V2, errors.CheckpointCorrupt)):
        with pytest.raises(kind) as caught:
            check_table(path, format_)
        assert f"it is {said}" in str(caught.value)


def test_real_checkpoints_are_none_of_that() -> None:
    check_table(GOLDEN / "ckpt_v1" / "model.ckpt-60", V1)
    for index in GOLDEN.glob("*/*.index"):
        check_table(index, V2)


@given(st.sampled_from([*DAMAGED.values(), *OTHERS.values()]))
def test_what_ends_as_a_table_is_left_to_tensorflow(
    tmp_path_factory: pytest.TempPathFactory, head: bytes
) -> None:
    path = tmp_path_factory.mktemp("table") / "x.index"
    path.write_bytes(head + TABLE_MAGIC)
    check_table(path, V2)


@given(st.binary(min_size=1, max_size=600))
def test_raw_values_are_hardly_ever_taken_for_something(head: bytes) -> None:
    foreign = foreign_content(head)
    assert foreign is None or head.startswith(
        (b"\n", b"BZh", b"\x08\x01\x12", b"\x1f\x8b\x08", b"<")
    )


@pytest.mark.parametrize("name", ["ckpt_ema", "ckpt_noema", "ckpt_sharded"])
def test_real_shards_are_taken_for_nothing(name: str) -> None:
    for shard in (GOLDEN / name).glob("*.data-*"):
        assert foreign_content(shard.read_bytes()[:512]) is None
