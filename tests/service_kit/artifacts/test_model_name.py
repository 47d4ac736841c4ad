from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service_kit import errors
from service_kit.artifacts.model_name import PATTERN, checked_model_name, is_model_name


@pytest.mark.parametrize("name", ["a", "digits", "densenet-169.v2_x", "0", "a" * 64])
def test_takes_ordinary_names(name: str) -> None:
    assert checked_model_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "-a", "a-", "A", "a/b", "a\\b", "a\n", "ä", "a b", "a" * 65, ".hidden"]
)
def test_refuses_names_that_are_no_safe_folder(name: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="not allowed"):
        checked_model_name(name)


@given(st.from_regex(PATTERN, fullmatch=True))
def test_an_allowed_name_is_one_path_component(name: str) -> None:
    assert is_model_name(name)
    assert "/" not in name
    assert name not in {"", ".", ".."}
