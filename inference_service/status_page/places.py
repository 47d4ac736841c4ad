"""So many at a time, and the next is told to come back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from service_kit import errors


class Places:
    """A number of places for something that takes memory or time. Belongs to the event loop."""

    def __init__(self, count: int, what: str) -> None:
        """Has `count` places; `what` is taken so many at a time, in the error's words."""
        self._count = count
        self._what = what
        self._taken = 0

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Takes a place until the block ends.

        Raises:
            QueueFull: all are taken.
        """
        if self._taken >= self._count:
            raise errors.QueueFull(
                f"this page takes {self._count} {self._what} at a time: try again in a moment",
                retry_after=1.0,
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
