"""What tells a store's folder from the empty one that a lost mount leaves behind."""

from __future__ import annotations

import contextlib
import errno
import uuid
from pathlib import Path

# Hidden: no model name begins with a dot.
MARK = ".pbserve-store"
_CONTENT = (
    "Readers that have seen this file take a folder without it for a mount that is lost.\n"
    "store {}\n"
)


class StoreMark:
    """A file in the folder that whoever makes the store puts there, with a name of its own."""

    def __init__(self, root: Path) -> None:
        """Looks for it in `root`."""
        self._path = root / MARK
        # The content of the one that was seen; None: none was.
        self._seen: str | None = None

    @property
    def was_seen(self) -> bool:
        """Whether the last check, or `put`, found one."""
        return self._seen is not None

    def put(self) -> None:
        """Puts it there, unless the folder takes nothing: a store without it is one, too."""
        with contextlib.suppress(OSError), self._path.open("x") as file:
            file.write(_CONTENT.format(uuid.uuid4().hex))
        self._seen = self._read()

    def require(self) -> None:
        """Remembers that it is there.

        Raises:
            FileNotFoundError: it is not.
        """
        self._seen = self._read()
        if self._seen is None:
            raise FileNotFoundError(
                errno.ENOENT,
                f"mount its volume, or have pbexport serve make the store: {MARK} is not in it",
            )

    def check(self, *, may_be_another: bool = False) -> None:
        """Remembers that it is there.

        Args:
            may_be_another: whether a mark that is not the one that was seen will do: of a store
                that somebody made anew in the same place.

        Raises:
            FileNotFoundError: it was there, and is not any more, or is another store's.
        """
        there = self._read()
        if self._seen is not None:
            if there is None:
                raise FileNotFoundError(
                    errno.ENOENT, f"{MARK} is gone from its folder: is the volume still mounted?"
                )
            # An empty one is being written at this moment, or cannot be read.
            if there and self._seen and there != self._seen and not may_be_another:
                raise FileNotFoundError(
                    errno.ENOENT,
                    f"{MARK} is that of another store now: is the volume still mounted? "
                    "If this is meant, start anew",
                )
        self._seen = there

    def _read(self) -> str | None:
        try:
            return self._path.read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError:
            return ""
