"""Numbers as people read them. Values in, values out."""

from __future__ import annotations

import math

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def count_text(number: int) -> str:
    """Returns `1,234,567`."""
    return f"{number:,}"


def counted_text(number: int, one: str, many: str = "") -> str:
    """Returns `1 image`, `1,234 images`."""
    return f"{count_text(number)} {one if number == 1 else many or one + 's'}"


def rate_text(per_second: float) -> str:
    """Returns a rate with as many digits as mean something: `0`, `3.4`, `1,234`."""
    if not math.isfinite(per_second):
        return "-"
    if per_second == 0:
        return "0"
    return f"{per_second:.1f}" if per_second < 100 else f"{per_second:,.0f}"


def percent_text(share: float) -> str:
    """Returns a share of 1 as `37%`; what is not quite all or nothing does not say so."""
    if 0 < share < 0.01:
        return "<1%"
    if 0.99 < share < 1:
        return ">99%"
    return f"{100 * share:.0f}%"


def duration_text(seconds: float) -> str:
    """Returns the two largest units of a time: `3 h 12 min`; below ten seconds `2.5 s`."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for name, length in _UNITS:
        number, left = divmod(left, length)
        if number or parts:
            parts.append(f"{number} {name}" if number else "")
    return " ".join(part for part in parts[:2] if part)


def milliseconds_text(seconds: float) -> str:
    """Returns a short time: `0.21 ms`, `12.3 ms`, `1,250 ms`."""
    thousandths = 1000 * seconds
    digits = 2 if thousandths < 1 else 1 if thousandths < 100 else 0
    return f"{thousandths:,.{digits}f} ms"


def mebibytes_text(size: int) -> str:
    """Returns bytes in MiB, without the unit: `0`, `0.4`, `256`."""
    mebibytes = size / 2**20
    if 0 < mebibytes < 0.1:
        return "<0.1"
    whole = mebibytes >= 10 or mebibytes.is_integer()
    return f"{mebibytes:,.{0 if whole else 1}f}"


def difference_text(number: float) -> str:
    """Returns a difference: `0`, `1.2e-07`, `nan`."""
    return "0" if number == 0 else f"{number:.1e}"


def clipped(text: str, max_length: int) -> str:
    """Returns text of at most so many characters, with a mark where it was cut."""
    return text if len(text) <= max_length else f"{text[: max_length - 6]} [cut]"
