"""An encoded image before its pixels are decoded: what it is, and whether that can be afforded."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from inference_service.images.jpeg_scans import scan_count
from service_kit import errors

# What Pillow makes of JPEG and PNG with 8 bits a channel or fewer.
_READABLE_MODES = frozenset(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
# Of one image: Pillow holds four bytes a pixel, 256 MB.
_MAX_PIXELS = 64_000_000
# Of one image, over all scans of a JPEG: each may cost as much as decoding a pixel once, and its
# own bytes may be none. Encoders write 10 scans, 18 with four colours; this is 32 of the largest
# image, and thousands of a small one. Measured: 0.5 ns a pixel of an empty scan on one core, 1 s
# in all.
_MAX_SCANNED_PIXELS = 32 * _MAX_PIXELS
# libpng writes chunks of 8 KB, 8000 in a message of 64 MB. Each costs Pillow 10 microseconds with
# the interpreter's lock held, and may be empty.
_MAX_CHUNKS = 50_000
# JPEG has no longer ones. Stretching a line of 1 x 64 million pixels to a width of 256 would
# take 64 GB on the way.
_LONGEST_SIDE = 65_535
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_JPEG_START = b"\xff\xd8\xff"


class _Jpeg(JpegImageFile):
    """A JPEG whose EXIF data are not read, since nothing of them is used.

    Pillow warns of each damaged tag, and Python keeps the text of each warning for good.
    """

    def _read_dpi_from_exif(self) -> None:
        pass


@contextlib.contextmanager
def failures_of(where: str) -> Iterator[None]:
    """Turns whatever Pillow raises on a file's content into an error that names the image."""
    try:
        yield
    except (errors.InvalidTensor, MemoryError):
        raise
    except Exception as error:
        # SyntaxError, OSError, ValueError, struct.error, zlib.error: Pillow promises no set.
        raise errors.InvalidTensor(
            f"{where} does not decode as JPEG or PNG: {str(error) or type(error).__name__}"
        ) from None


def size_text(size: Sequence[int]) -> str:
    """Returns a height and a width in words; -1 is any."""
    height, width = ("any" if one < 0 else one for one in size)
    return f"height {height} and width {width}"


def open_image(content: bytes, where: str) -> ImageFile:
    """Returns an image of which only the header has been read, and which may be decoded.

    Args:
        content: of a file.
        where: which image it is, for messages.

    Raises:
        InvalidTensor: it has more pixels or scans than there is time for, or would lose bits.
        Exception: whatever Pillow raises; see `failures_of`.
    """
    # Before Pillow goes through the segments, which takes it longer.
    scans = scan_count(content) if content.startswith(_JPEG_START) else 1
    image = _header(content)
    _check_header(image, where)
    max_scans = _MAX_SCANNED_PIXELS // max(1, image.width * image.height)
    if scans > max_scans:
        raise errors.InvalidTensor(
            f"{where} has {scans} scans; with {size_text((image.height, image.width))} it may have "
            f"{max_scans}: save it with fewer"
        )
    return image


def _header(content: bytes) -> ImageFile:
    # The classes are called themselves, because `PIL.Image.open` answers a large image with a
    # warning that could be handled for the whole process only.
    if content.startswith(_PNG_START):
        # Pillow's decoder needs neither the end of the file nor the checksums of the pixels.
        if _PNG_END not in content:
            raise ValueError("the file is truncated")
        if _chunk_count(content) > _MAX_CHUNKS:
            raise ValueError(f"it has more than {_MAX_CHUNKS} chunks")
        PngImageFile(io.BytesIO(content)).verify()
        return PngImageFile(io.BytesIO(content))
    if content.startswith(_JPEG_START):
        return _Jpeg(io.BytesIO(content))
    raise ValueError(f"it begins with {content[:8]!r}" if content else "it is empty")


def _chunk_count(content: bytes) -> int:
    """Returns the number of chunks of a PNG; stops above what it may have."""
    count, position = 0, len(_PNG_START)
    while position < len(content) and count <= _MAX_CHUNKS:
        # Length, name, content, checksum.
        position += 12 + int.from_bytes(content[position : position + 4], "big")
        count += 1
    return count


def _check_header(image: ImageFile, where: str) -> None:
    """Checks before a pixel is decoded that memory will do, and that no bits would be lost."""
    pixels = image.width * image.height
    if pixels > _MAX_PIXELS or max(image.size) > _LONGEST_SIDE:
        raise errors.InvalidTensor(
            f"{where} has {size_text((image.height, image.width))}; at most {_MAX_PIXELS} pixels "
            f"and sides of {_LONGEST_SIDE} are possible: resize it before sending"
        )
    if image.mode not in _READABLE_MODES or any(";16" in str(tile.args) for tile in image.tile):
        raise errors.InvalidTensor(
            f"{where} has more than 8 bits a channel, which would be lost: save it with 8, or send "
            "a raw tensor"
        )
