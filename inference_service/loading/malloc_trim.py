"""Memory that was freed, given back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import gc


def give_back() -> None:
    """Returns what the C heap keeps after large things were freed.

    Measured with a DenseNet-169: loading it leaves about 330 MB of freed pieces in the heap, a
    third of what the process then holds. Does nothing where the C library is not glibc.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
