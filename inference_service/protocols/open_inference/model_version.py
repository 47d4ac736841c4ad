"""The version that a request names. Values in, values out."""

from __future__ import annotations

from service_kit import errors
from service_kit.artifacts.model_name import is_model_name

# Of a signed 64-bit number.
_MAX_DIGITS = 19


def version_or_label(text: str) -> tuple[int, str]:
    """Returns a version's number, or 0 and a label; 0 and "" for the default.

    Raises:
        InvalidRequest: it can be neither.
    """
    if not text:
        return 0, ""
    if text.isascii() and text.isdigit():
        if len(text) > _MAX_DIGITS or int(text) == 0:
            raise errors.InvalidRequest(
                f"version {text[:100]!r}: versions begin at 1 and have up to {_MAX_DIGITS} digits"
            )
        return int(text), ""
    if is_model_name(text):
        return 0, text
    raise errors.InvalidRequest(
        f"version {text[:100]!r} is neither a whole number above 0, nor a label of a version"
    )
