"""What to say of a name that is not there: the one that was meant, or what there is."""

from __future__ import annotations

import difflib
from collections.abc import Collection

_MEANT = 3
# A letter or two of ten; `resnet` does not mean `densenet`.
_ALIKE = 0.8


def not_found(what: str, name: str, known: Collection[str]) -> str:
    """Returns a message about a name that is not there.

    Args:
        what: says so, without a full stop.
        name: that was asked for.
        known: those that are there.

    Returns:
        `did you mean 'densenet169'? <what>`, or `<what>; there are ...` where none is close.
    """
    close = difflib.get_close_matches(name, known, _MEANT, _ALIKE)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}? {what}"
    return f"{what}; there are {', '.join(known) or 'none'}"
