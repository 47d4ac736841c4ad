"""What a JPEG is made of, by its markers alone. Values in, values out."""

from __future__ import annotations

import re

# What begins a segment. In a scan's own bytes FF is followed by 00 or is a restart marker, and
# FF may be repeated before any marker (ISO/IEC 10918-1, B.1.1).
_SEGMENT = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
_SCAN, _END, _START = b"\xda", b"\xd9", b"\xd8"
# A photograph has about 20; a colour profile may have 255, and 64 MB of anything in the largest
# segments are 1000. Each costs some microseconds with the interpreter's lock held.
_MAX_SEGMENTS = 10_000


def scan_count(content: bytes) -> int:
    """Returns in how many passes a JPEG codes its image: 1, or about 10 where it is progressive.

    Every pass goes over all pixels, and may have next to no bytes. Segments are skipped by their
    length, so that an image inside one (a thumbnail) counts for nothing.

    Raises:
        ValueError: there are more segments than any real file has.
    """
    scans, position = 0, len(_START) + 1
    for _ in range(_MAX_SEGMENTS):
        segment = _SEGMENT.search(content, position)
        if segment is None or segment[1] == _END:
            return scans
        scans += segment[1] == _SCAN
        length = segment.end()
        position = length + int.from_bytes(content[length : length + 2], "big")
    raise ValueError(f"it has more than {_MAX_SEGMENTS} segments")
