"""Small picture files, and what they decode to."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from inference_service.images.decoding import Fit, ImageDecoding
from service_kit.artifacts.manifest import TensorSpec


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Returns a PNG file of pixels, uint8 [height, width, 3]."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def plain_png(red: int, green: int, blue: int, side: int = 2) -> bytes:
    """Returns a PNG file of one colour."""
    return png(np.full([side, side, 3], [red, green, blue], np.uint8))


def decode_images(encoded: Sequence[bytes], spec: TensorSpec, fit: Fit) -> npt.NDArray[np.uint8]:
    """Returns all images, as `ImageDecoding` makes them of the same arguments."""
    decoding = ImageDecoding(encoded, spec, fit)
    while not decoding.is_done:
        decoding.decode_next()
    return decoding.pixels
