"""Reads the `.index` of a V2 checkpoint: where each tensor lies, by shard and byte.

TensorFlow's own reader does not say which shard a tensor is in, and that is what an operator
with a damaged file wants to know. The file is a sorted string table as LevelDB writes it,
uncompressed (tensorflow/core/lib/io/format.cc, tensorflow/core/protobuf/tensor_bundle.proto).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# Two block handles of at most 20 bytes each, then the magic number.
_FOOTER_BYTES = 48
TABLE_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
# Type byte and checksum after each block; type 0 is uncompressed.
_TRAILER_BYTES = 5
# Field numbers of BundleHeaderProto and BundleEntryProto.
_NUM_SHARDS = 1
_SHARD_ID, _OFFSET, _SIZE = 3, 4, 5


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a tensor's bytes lie: shard number, offset and size in bytes."""

    shard: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class BundleLayout:
    """Number of data files, and where in them each tensor lies, by key."""

    shard_count: int
    extents: Mapping[str, Extent]


def read_layout(index: Path) -> BundleLayout:
    """Returns the layout that a V2 index describes.

    Raises:
        ValueError: the file is not such an index, or is damaged.
    """
    content = index.read_bytes()
    if len(content) < _FOOTER_BYTES or content[-len(TABLE_MAGIC) :] != TABLE_MAGIC:
        raise ValueError("not a sorted string table")
    footer = content[-_FOOTER_BYTES:]
    position = 0
    # The first handle is that of the metaindex block, which checkpoints leave empty.
    for _ in range(2):
        _, position = _varint(footer, position)
    start, position = _varint(footer, position)
    length, _ = _varint(footer, position)
    extents, shard_count = {}, 1
    for _, handle in _entries(_block(content, start, length)):
        start, position = _varint(handle, 0)
        length, _ = _varint(handle, position)
        for key, value in _entries(_block(content, start, length)):
            fields = dict(_fields(value))
            if key:
                extents[key.decode(errors="replace")] = Extent(
                    fields.get(_SHARD_ID, 0), fields.get(_OFFSET, 0), fields.get(_SIZE, 0)
                )
            else:
                # The empty key holds the header, BundleHeaderProto.
                shard_count = fields.get(_NUM_SHARDS, 1)
    return BundleLayout(shard_count, extents)


def _block(content: bytes, start: int, length: int) -> bytes:
    end = start + length
    if end + _TRAILER_BYTES > len(content) or content[end] != 0:
        raise ValueError("a block lies outside the file or is compressed")
    return content[start:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a block; keys share a prefix with the one before."""
    if len(block) < 4:
        raise ValueError("a block is too short")
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * restarts
    key, position = b"", 0
    while position < end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        size, position = _varint(block, position)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + size]
        position += size


def _fields(message: bytes) -> Iterator[tuple[int, int]]:
    """Yields number and value of a message's integer fields."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield number, value
        elif kind == 2:
            length, position = _varint(message, position)
            position += length
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        else:
            raise ValueError(f"an entry has a field of unknown kind {kind}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Returns the number that starts at `position`, and the position after it."""
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("a number is cut off")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
        shift += 7
