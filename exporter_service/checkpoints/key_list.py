"""Lists of variables and keys as they stand in messages."""

from __future__ import annotations

from collections.abc import Sequence

_LISTED = 10


def counted(keys: Sequence[str]) -> str:
    """Returns the number of keys and the first ten of them: `12: a, b, ... and 2 more`."""
    return f"{len(keys)}: {listed(keys)}" if keys else "0"


def listed(keys: Sequence[str]) -> str:
    """Returns the first ten keys and the number of the others: `a, b, ... and 2 more`."""
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return f"{', '.join(keys[:_LISTED])}{more}"
