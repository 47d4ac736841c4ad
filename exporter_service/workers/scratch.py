"""Temporary folders of conversions, outside every store."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from service_kit import errors

_PREFIX = "pbexport-"
_NAME = re.compile(rf"{_PREFIX}(\d+)-.*")


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yields an empty folder that is removed afterwards.

    Raises:
        ScratchUnavailable: the system's temporary folder is full or not there.
    """
    try:
        folder = tempfile.TemporaryDirectory(
            prefix=f"{_PREFIX}{os.getpid()}-", ignore_cleanup_errors=True
        )
    except OSError as error:
        raise errors.ScratchUnavailable(
            f"cannot make a temporary folder: {error.strerror or error}; set TMPDIR to one with "
            "space"
        ) from error
    with folder as name:
        yield Path(name)


def sweep_scratch() -> None:
    """Removes what exporters left behind that were killed; call it before the first conversion."""
    with contextlib.suppress(OSError):
        for path in Path(tempfile.gettempdir()).iterdir():
            match = _NAME.fullmatch(path.name)
            if match and not _is_another_process(int(match[1])):
                shutil.rmtree(path, ignore_errors=True)


def _is_another_process(pid: int) -> bool:
    # Our own number on a folder is that of a predecessor, as in a container that started again.
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
