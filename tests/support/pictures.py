"""Small picture files."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Returns a PNG file of pixels, uint8 [height, width, 3]."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def plain_png(red: int, green: int, blue: int, side: int = 2) -> bytes:
    """Returns a PNG file of one colour."""
    return png(np.full([side, side, 3], [red, green, blue], np.uint8))
