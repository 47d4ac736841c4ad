"""Lists of variables and keys as they stand in messages."""

from __future__ import annotations

from collections.abc import Sequence

_LISTED = 10


def counted(keys: Sequence[str], most: int = _LISTED) -> str:
    """Returns the number of keys and the first of them: `12: a, b, ... and 2 more`."""
    return f"{len(keys)}: {listed(keys, most)}" if keys else "0"


def listed(keys: Sequence[str], most: int = _LISTED) -> str:
    """Returns the first `most` keys and the number of the others: `a, b, ... and 2 more`."""
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return f"{', '.join(keys[:most])}{more}"
