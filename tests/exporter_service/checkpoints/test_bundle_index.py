from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter_service.checkpoints.bundle_index import read_layout
from tests.support.digits import GOLDEN

SHARDED = GOLDEN / "ckpt_sharded" / "model.ckpt-300.index"


@pytest.mark.parametrize(
    ("name", "count", "shards"), [("ckpt_ema", 343, 1), ("ckpt_sharded", 195, 2)]
)
def test_finds_every_tensor(name: str, count: int, shards: int) -> None:
    (index,) = (GOLDEN / name).glob("*.index")
    layout = read_layout(index)
    assert (len(layout.extents), layout.shard_count) == (count, shards)


def test_extents_fill_the_shards_without_gap_or_overlap() -> None:
    extents = read_layout(SHARDED).extents
    for shard in (0, 1):
        position = 0
        for extent in sorted(
            (e for e in extents.values() if e.shard == shard), key=lambda e: e.offset
        ):
            assert extent.offset == position
            position += extent.size
        file = SHARDED.with_name(f"model.ckpt-300.data-{shard:05d}-of-00002")
        assert position == file.stat().st_size


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.index"
    for content in (b"", b"version https://git-lfs.github.com/spec/v1\n" * 3):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a sorted string table"):
            read_layout(path)


@settings(max_examples=300)
@given(position=st.integers(0, 9192), value=st.integers(0, 255))
def test_damage_is_noticed_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    content = bytearray(SHARDED.read_bytes())
    content[position] = value
    path = tmp_path_factory.mktemp("damaged") / "x.index"
    path.write_bytes(content)
    with contextlib.suppress(ValueError):
        read_layout(path)
