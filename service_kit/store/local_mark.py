"""What tells a store's folder from the empty one that a lost mount leaves behind."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

# Hidden: no model name begins with a dot.
MARK = ".pbserve-store"
_CONTENT = "Readers that have seen this file take a folder without it for a mount that is lost.\n"


class StoreMark:
    """A file in the folder that whoever makes the store puts there."""

    def __init__(self, root: Path) -> None:
        """Looks for it in `root`."""
        self._path = root / MARK
        self._seen = False

    def put(self) -> None:
        """Puts it there, unless the folder takes nothing: a store without it is one, too."""
        with contextlib.suppress(OSError):
            self._path.write_text(_CONTENT)

    def check(self) -> None:
        """Remembers that it is there.

        Raises:
            FileNotFoundError: it was, and is not any more.
        """
        there = self._path.exists()
        if self._seen and not there:
            raise FileNotFoundError(
                errno.ENOENT, f"{MARK} is gone from its folder: is the volume still mounted?"
            )
        self._seen = there
