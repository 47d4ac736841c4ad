from __future__ import annotations

import pytest

from inference_service.protocols.open_inference.model_version import version_or_label
from service_kit import errors


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, "")),
        ("1", (1, "")),
        ("0012", (12, "")),
        ("9999999999999999999", (9999999999999999999, "")),
        ("stable", (0, "stable")),
        ("v2", (0, "v2")),
        ("2.1", (0, "2.1")),
    ],
)
def test_digits_are_a_version_and_other_names_a_label(text: str, expected: tuple[int, str]) -> None:
    assert version_or_label(text) == expected


@pytest.mark.parametrize(
    "text", ["0", "000", "-1", "1" * 5000, " 1", "1 ", "\u0661", "A", "a/b", "."]
)
def test_what_can_be_neither_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="version"):
        version_or_label(text)
