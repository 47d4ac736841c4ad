"""Text that does nothing to the terminal that shows it."""

from __future__ import annotations


def printable(text: str) -> str:
    """Returns text without what would steer a terminal: names may come from anywhere."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
