"""Encoded images -> arrays."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import ImageOps
from PIL.Image import Image, Resampling
from PIL.ImageFile import ImageFile

from inference_service.images.encoded_image import failures_of, open_image, size_text
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec

# Pillow's mode by the model's number of channels.
_MODE_OF = {1: "L", 3: "RGB", 4: "RGBA"}
# Of what is returned, 768 MB of RGB. A message of 64 MB can have 300000 images of one pixel, or
# 300 large ones of one colour.
_MAX_PIXELS_TOGETHER = 256_000_000
_FIT_ADVICE = "resize it before sending, or ask for a fit"
_ONE_SIZE_ADVICE = "send images of one size in one request"


class Fit(enum.Enum):
    """How an image is brought to the model's size.

    EXACT: it has to have it. STRETCH: resized whatever its proportions. CROP: resized so that it
    covers the size, proportions kept, and the middle cut out.
    """

    EXACT = "EXACT"
    STRETCH = "STRETCH"
    CROP = "CROP"


class ImageDecoding:
    """JPEG and PNG images on their way to uint8 [images, height, width, channels].

    Colours become what the model has channels for, 3 if it takes any number: alpha is dropped for
    1 and 3, grey is repeated, grey of colours is that of JPEG (ITU-R 601). EXIF orientation is
    not applied, as TensorFlow's decoders do not. Resizing is bilinear, over all pixels that
    shrink into one (TensorFlow's `antialias=True`). Of an animation the first picture counts.

    Keeps a core busy, milliseconds a megapixel, without the interpreter's lock for the most part:
    not for an event loop. One thread at a time; several may decode at the same time.

    Attributes:
        pixels: of all images. Until the first one is decoded, sizes that the model leaves open are
            0 unless there is a fit.
    """

    def __init__(
        self, encoded: Sequence[bytes], spec: TensorSpec, fit: Fit, max_elements: int = 0
    ) -> None:
        """Makes room for all images; decodes none yet.

        Args:
            encoded: one file's content an image.
            spec: the input, of shape [images, height, width, channels]; -1 is any size.
            fit: what happens to images of another size. Where the model takes any size, EXACT asks
                for one size in all images.
            max_elements: numbers in all that comes out; 0: no bound but that of pixels.

        Raises:
            InvalidTensor: the input takes no images, or these have too many pixels (256 million in
                all that comes out).
            InvalidRequest: images are to be resized, and the model has no size.
        """
        self._encoded, self._spec, self._fit = encoded, spec, fit
        self._wanted = _wanted_size(spec, fit)
        self._max_elements = max_elements
        self._channels = spec.shape[3] if spec.shape[3] >= 0 else 3
        height, width = (max(size, 0) for size in self._wanted)
        self.pixels = self._room(height, width)
        self._next = 0

    @property
    def is_done(self) -> bool:
        """Whether all images are decoded."""
        return self._next == len(self._encoded)

    def decode_next(self) -> None:
        """Decodes one image.

        Raises:
            InvalidTensor: it does not decode, would lose bits, or has the wrong size, or too many
                pixels (64 million) or scans (32, of the largest image); names the image.
        """
        where = f"image {self._next} of input {self._spec.name!r}"
        with failures_of(where):
            image = open_image(self._encoded[self._next], where)
            self._check_size(image, where)
            size = self.pixels.shape[1:3]
            self.pixels[self._next] = _pixels(image, self._channels, self._fit, size)
        self._next += 1

    def _check_size(self, image: ImageFile, where: str) -> None:
        if self._fit is not Fit.EXACT:
            return
        size = (image.height, image.width)
        _check_size(size, self._wanted, where, "the model takes", _FIT_ADVICE)
        if self._next == 0:
            self.pixels = self._room(*size)
        _check_size(size, self.pixels.shape[1:3], where, "image 0 has", _ONE_SIZE_ADVICE)

    def _room(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """Returns an array for all images, whose contents are yet to come."""
        images = len(self._encoded)
        if images * height * width > _MAX_PIXELS_TOGETHER:
            raise errors.InvalidTensor(
                f"input {self._spec.name!r} has {images} images of {size_text((height, width))}, "
                f"and {_MAX_PIXELS_TOGETHER} pixels are possible in one request: send them in "
                "several"
            )
        shape = [images, height, width, self._channels]
        if 0 < self._max_elements < math.prod(shape):
            raise too_many_elements(math.prod(shape), self._max_elements)
        return np.empty(shape, np.uint8)


def too_many_elements(elements: int, most: int) -> errors.InvalidTensor:
    """Returns the error of a request with more numbers than a model takes at once."""
    return errors.InvalidTensor(
        f"send smaller images, or fewer at a time: the request has {elements} numbers, and the "
        f"model takes {most} at once, by the memory that there is; max_elements of the models file "
        "sets it"
    )


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
            f"input {spec.name!r} takes images of {size_text((height, width))}, so that there is "
            "nothing to fit them to: resize them before sending, and ask for no fit"
        )
    return height, width


def _check_size(
    size: tuple[int, int], wanted: Sequence[int], where: str, who_wants: str, advice: str
) -> None:
    if any(want not in (-1, got) for got, want in zip(size, wanted, strict=True)):
        raise errors.InvalidTensor(
            f"{where} has {size_text(size)}; {who_wants} {size_text(wanted)}: {advice}"
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
