from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import weakref

import pytest

from inference_service.loading.malloc_trim import give_back

CODE = """
import os
from inference_service.loading.malloc_trim import give_back

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")

# Too small for the allocator to map, too many for it to give back: the last one holds the end.
pieces = [bytearray(100_000) for _ in range(1000)]
del pieces[:-1]
before = resident()
give_back()
print(before - resident())
"""


def test_what_was_freed_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50_000_000


class Node:
    """Refers to itself."""

    def __init__(self) -> None:
        self.me = self


def test_what_refers_to_itself_is_freed_first() -> None:
    gc.disable()
    try:
        node = weakref.ref(Node())
        assert node()
        give_back()
        assert node() is None
    finally:
        gc.enable()


def no_library(name: str) -> object:
    raise OSError(name)


@pytest.mark.parametrize("load", [no_library, lambda name: object()])
def test_it_does_nothing_where_the_c_library_is_another(
    monkeypatch: pytest.MonkeyPatch, load: object
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", load)
    give_back()
