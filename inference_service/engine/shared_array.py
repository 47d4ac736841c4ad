"""Arrays that an engine reads where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class _Memory:
    """The memory of an array, as if it could be written; keeps the array alive."""

    def __init__(self, array: Array) -> None:
        self._array = array
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def writable_view(array: Array) -> Array:
    """Returns an array in one piece, which says that it may be written; nobody must.

    A message's bytes are read-only, and an engine that takes memory as it is asks for more than it
    uses. What is not in one piece, or not aligned, is copied.
    """
    whole = np.require(array, requirements=["C", "A"])
    if whole.flags.writeable or not whole.size:
        return whole
    return np.asarray(_Memory(whole))
