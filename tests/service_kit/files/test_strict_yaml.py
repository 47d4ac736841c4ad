from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service_kit import errors
from service_kit.files.strict_yaml import parse_yaml


def test_plain_values_are_read() -> None:
    text = "a: 1\nb: [x, 2.5, true, null]\nc: {d: e}\n"
    assert parse_yaml(text, "f") == {"a": 1, "b": ["x", 2.5, True, None], "c": {"d": "e"}}
    assert parse_yaml("", "f") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("off", "off"),
        ("False", False),
        ("~", None),
        ("-3", -3),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("2.", 2.0),
        (".inf", ".inf"),
        ("2026-11-23", "2026-11-23"),
        ("'3'", "3"),
        ("{<<: {b: 1}}", {"<<": {"b": 1}}),
    ],
)
def test_what_looks_like_text_is_text(text: str, value: object) -> None:
    found = parse_yaml(f"a: {text}", "f")["a"]
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "f line 3, column 1: the key 'a' is there twice"),
        ("x:\n  a: 1\n  a: 1\n", "f line 3, column 3: the key 'a' is there twice"),
        ("a: &x [1]\nb: *x\n", "f line 1, column 4: anchors and aliases are not read"),
        ("1: a", "the key 1 is no text"),
        ("? [a, b, c, d, e, f, g, h]\n: 1\n", "'f', ...] is no text"),
        (f"? {'k' * 5000}\n: 1\n? {'k' * 5000}\n: 2\n", "...kkkkkkkkkkkkk' is there twice"),
        ("[a]: b", "is no text"),
        ("a: [1", "f line 1"),
        ("a: b: c", "f line 1, column 5"),
        ("\ta: 1", "cannot start any token"),
        ("a: !!python/object/apply:os.system [ls]", "f line 1, column 4: tags are not read"),
        ("a: !!bool maybe", "f line 1, column 4: tags are not read"),
        ("a: !!int ''", "tags are not read"),
        ("a: !!map x", "tags are not read"),
        ("a: !!set {b, c}", "tags are not read"),
        ("a: ! b", "tags are not read"),
        (f"a: {'9' * 5000}", "f: Exceeds the limit"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("a: \x00", "f: "),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_surprises_are_refused_with_their_place(text: str, words: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        parse_yaml(text, "f")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    st.sampled_from(["", "!!bool ", "!!int ", "!!float ", "!!timestamp ", "!!map ", "!x "]),
    st.text("0123456789abox:._+-eE'\"~", max_size=12),
)
def test_any_scalar_is_read_or_refused(tag: str, text: str) -> None:
    with contextlib.suppress(errors.InvalidRequest):
        parse_yaml(f"a: {tag}{text}", "f")


@given(st.text(st.sampled_from("ab:-[]{}&*!|>%@`'\"#,?<= \n\t1.0~\x85é\x00"), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(errors.InvalidRequest):
        parse_yaml(text, "f")
