from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from inference_service.images.jpeg_scans import scan_count

RANDOM = np.random.default_rng(0)


def jpeg(mode: str = "RGB", side: int = 200, **options: Any) -> bytes:
    """Noise, so that every two bytes that a scan may have are there."""
    pixels = Image.fromarray(RANDOM.integers(0, 256, (side, side, 3), np.uint8)).convert(mode)
    file = io.BytesIO()
    pixels.save(file, "JPEG", **options)
    return file.getvalue()


def with_segment(content: bytes, code: int, body: bytes) -> bytes:
    length = (len(body) + 2).to_bytes(2, "big")
    return content[:2] + bytes([0xFF, code]) + length + body + content[2:]


@pytest.mark.parametrize(
    ("content", "scans"),
    [
        (jpeg(), 1),
        (jpeg("L", progressive=True), 6),
        (jpeg(progressive=True), 10),
        (jpeg("CMYK", progressive=True), 18),
        (jpeg(quality=100, subsampling=0, restart_marker_blocks=1), 1),
        (jpeg(progressive=True, restart_marker_rows=1), 10),
    ],
)
def test_scans_are_those_that_the_encoder_wrote(content: bytes, scans: int) -> None:
    assert scan_count(content) == scans


@pytest.mark.parametrize("code", [0xE0, 0xE1, 0xEF, 0xFE])
def test_what_is_inside_of_a_segment_counts_for_nothing(code: int) -> None:
    thumbnail = jpeg(side=30, progressive=True)
    assert scan_count(with_segment(jpeg(), code, b"thumbnail" + thumbnail)) == 1
    assert scan_count(with_segment(jpeg(progressive=True), code, b"\xff\xda" * 30_000)) == 10


def test_what_follows_the_image_counts_for_nothing() -> None:
    assert scan_count(jpeg() + jpeg(progressive=True)) == 1


def test_markers_may_be_filled_up() -> None:
    assert scan_count(jpeg().replace(b"\xff\xda", b"\xff\xff\xff\xda", 1)) == 1


def test_as_many_segments_as_no_file_has_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 10000 segments"):
        scan_count(b"\xff\xd8" + b"\xff\xfe\0\2" * 10_001)
    assert scan_count(b"\xff\xd8" + b"\xff\xfe\0\2" * 9_000 + jpeg()[2:]) == 1


@given(st.sampled_from([jpeg(side=16), jpeg(side=16, progressive=True)]), st.data())
def test_damaged_files_are_counted_as_far_as_they_go(content: bytes, data: st.DataObject) -> None:
    cut = content[: data.draw(st.integers(3, len(content)))]
    rest = data.draw(st.binary(max_size=50))
    assert 0 <= scan_count(cut + rest) <= scan_count(cut) + 26
