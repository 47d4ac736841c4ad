"""The rule for names of models and labels: safe as a folder, an object key and a metric's label."""

from __future__ import annotations

import re

from service_kit import errors

PATTERN = r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?"
_COMPILED = re.compile(PATTERN)


def is_model_name(name: str) -> bool:
    """Whether `name` may name a model."""
    return _COMPILED.fullmatch(name) is not None


def checked_model_name(name: str) -> str:
    """Returns `name`.

    Raises:
        InvalidRequest: it breaks the rule.
    """
    return _check(name, "model name")


def checked_label(label: str) -> str:
    """Returns a label of a version; raises as `checked_model_name`."""
    return _check(label, "label")


def _check(name: str, what: str) -> str:
    if not is_model_name(name):
        raise errors.InvalidRequest(
            f"{what} {name!r} is not allowed: use 1 to 64 lower-case letters, digits, "
            "dots, underscores and hyphens, with a letter or digit at both ends"
        )
    return name
