"""Encoded images -> arrays."""

from __future__ import annotations

import contextlib
import enum
import io
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import ImageOps
from PIL.Image import Image, Resampling
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from service_kit import errors
from service_kit.manifest import TensorSpec

# Pillow's mode by the model's number of channels.
_MODE_OF = {1: "L", 3: "RGB", 4: "RGBA"}
# What Pillow makes of JPEG and PNG with 8 bits a channel or fewer.
_READABLE_MODES = frozenset(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
# Of one image: Pillow holds four bytes a pixel, 256 MB.
_MOST_PIXELS = 64_000_000
# JPEG has no longer ones. Stretching a line of 1 x 64 million pixels to a width of 256 would
# take 64 GB on the way.
_LONGEST_SIDE = 65_535
# Of what is returned, 768 MB of RGB. A message of 64 MB can have 300000 images of one pixel, or
# 300 large ones of one colour.
_MOST_PIXELS_TOGETHER = 256_000_000
_FIT_ADVICE = "resize it before sending, or ask for a fit"
_ONE_SIZE_ADVICE = "send images of one size in one request"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_JPEG_START = b"\xff\xd8\xff"


class Fit(enum.Enum):
    """How an image is brought to the model's size.

    EXACT: it has to have it. STRETCH: resized whatever its proportions. CROP: resized so that it
    covers the size, proportions kept, and the middle cut out.
    """

    EXACT = "EXACT"
    STRETCH = "STRETCH"
    CROP = "CROP"


class _Jpeg(JpegImageFile):
    """A JPEG whose EXIF data are not read, since nothing of them is used.

    Pillow warns of each damaged tag, and Python keeps the text of each warning for good.
    """

    def _read_dpi_from_exif(self) -> None:
        pass


def decode_images(encoded: Sequence[bytes], spec: TensorSpec, fit: Fit) -> npt.NDArray[np.uint8]:
    """Returns JPEG and PNG images as uint8 [images, height, width, channels].

    Colours become what the model has channels for, 3 if it takes any number: alpha is dropped for
    1 and 3, grey is repeated, grey of colours is that of JPEG (ITU-R 601). EXIF orientation is
    not applied, as TensorFlow's decoders do not. Resizing is bilinear, over all pixels that
    shrink into one (TensorFlow's `antialias=True`). Of an animation the first picture counts.

    Keeps a core busy, milliseconds a megapixel, without the interpreter's lock for the most part:
    not for an event loop. Threads may call it at the same time.

    Args:
        encoded: one file's content an image.
        spec: the input, of shape [images, height, width, channels]; -1 is any size.
        fit: what happens to images of another size. Where the model takes any size, EXACT asks
            for one size in all images.

    Raises:
        InvalidTensor: the input takes no images, an image does not decode, would lose bits, or
            has the wrong size, or there are too many pixels (64 million in an image, 256 million
            in all that is returned); names the image.
        InvalidRequest: images are to be resized, and the model has no size.
    """
    wanted = _wanted_size(spec, fit)
    channels = spec.shape[3] if spec.shape[3] >= 0 else 3
    height, width = (max(size, 0) for size in wanted)
    batch = _room(len(encoded), height, width, channels, spec)
    for index, content in enumerate(encoded):
        where = f"image {index} of input {spec.name!r}"
        with _failures_of(where):
            image = _opened(content)
            _check_header(image, where)
            if fit is Fit.EXACT:
                size = (image.height, image.width)
                _check_size(size, wanted, where, "the model takes", _FIT_ADVICE)
                if index == 0:
                    batch = _room(len(encoded), *size, channels, spec)
                _check_size(size, batch.shape[1:3], where, "image 0 has", _ONE_SIZE_ADVICE)
            batch[index] = _pixels(image, channels, fit, batch.shape[1:3])
    return batch


def _wanted_size(spec: TensorSpec, fit: Fit) -> tuple[int, int]:
    """Returns the model's height and width, -1 for any; checks that it takes images at all."""
    if len(spec.shape) != 4:
        raise errors.InvalidTensor(
            f"input {spec.name!r} has shape {list(spec.shape)}, and images would be [images, "
            "height, width, channels]: send raw tensors"
        )
    _, height, width, channels = spec.shape
    if channels >= 0 and channels not in _MODE_OF:
        raise errors.InvalidTensor(
            f"input {spec.name!r}: the model takes {channels} channels: send raw tensors"
        )
    if fit is not Fit.EXACT and (height < 0 or width < 0):
        raise errors.InvalidRequest(
            f"input {spec.name!r} takes images of {_size_text((height, width))}, so that there is "
            "nothing to fit them to: resize them before sending, and ask for no fit"
        )
    return height, width


def _room(
    images: int, height: int, width: int, channels: int, spec: TensorSpec
) -> npt.NDArray[np.uint8]:
    """Returns an array for all images, whose contents are yet to come."""
    if images * height * width > _MOST_PIXELS_TOGETHER:
        raise errors.InvalidTensor(
            f"input {spec.name!r} has {images} images of {_size_text((height, width))}, and "
            f"{_MOST_PIXELS_TOGETHER} pixels are possible in one request: send them in several"
        )
    return np.empty([images, height, width, channels], np.uint8)


@contextlib.contextmanager
def _failures_of(where: str) -> Iterator[None]:
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


def _opened(content: bytes) -> ImageFile:
    """Returns an image of which only the header has been read.

    The classes are called themselves, because `PIL.Image.open` answers a large image with a
    warning that could be handled for the whole process only.
    """
    if content.startswith(_PNG_START):
        # Pillow's decoder needs neither the end of the file nor the checksums of the pixels.
        if _PNG_END not in content:
            raise ValueError("the file is truncated")
        PngImageFile(io.BytesIO(content)).verify()
        return PngImageFile(io.BytesIO(content))
    if content.startswith(_JPEG_START):
        return _Jpeg(io.BytesIO(content))
    raise ValueError(f"it begins with {content[:8]!r}" if content else "it is empty")


def _check_header(image: ImageFile, where: str) -> None:
    """Checks before a pixel is decoded that memory will do, and that no bits would be lost."""
    pixels = image.width * image.height
    if pixels > _MOST_PIXELS or max(image.size) > _LONGEST_SIDE:
        raise errors.InvalidTensor(
            f"{where} has {_size_text((image.height, image.width))}; at most {_MOST_PIXELS} pixels "
            f"and sides of {_LONGEST_SIDE} are possible: resize it before sending"
        )
    if image.mode not in _READABLE_MODES or any(";16" in str(tile.args) for tile in image.tile):
        raise errors.InvalidTensor(
            f"{where} has more than 8 bits a channel, which would be lost: save it with 8, or send "
            "a raw tensor"
        )


def _check_size(
    size: tuple[int, int], wanted: Sequence[int], where: str, who_wants: str, advice: str
) -> None:
    if any(want not in (-1, got) for got, want in zip(size, wanted, strict=True)):
        raise errors.InvalidTensor(
            f"{where} has {_size_text(size)}; {who_wants} {_size_text(wanted)}: {advice}"
        )


def _pixels(
    image: ImageFile, channels: int, fit: Fit, size: Sequence[int]
) -> npt.NDArray[np.uint8]:
    """Returns the image's pixels, of shape [height, width, channels]."""
    height, width = size
    mode = _MODE_OF[channels]
    image.load()
    if mode != "RGBA":
        # Else Pillow keeps account of the transparent colour, with a warning where it cannot.
        image.info.pop("transparency", None)
    converted: Image = image if image.mode == mode else image.convert(mode)
    if fit is Fit.STRETCH:
        converted = converted.resize((width, height), Resampling.BILINEAR)
    elif fit is Fit.CROP:
        # Computes what will be left only: the whole, covering the size, could be of any length.
        converted = ImageOps.fit(converted, (width, height), Resampling.BILINEAR)
    return np.asarray(converted).reshape(height, width, channels)


def _size_text(size: Sequence[int]) -> str:
    height, width = ("any" if one < 0 else one for one in size)
    return f"height {height} and width {width}"
