from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter_service.checkpoints.key_rewrites import (
    MAX_LENGTH,
    KeyRewrite,
    parse_rewrite,
    parse_rewrites,
    rewritten,
)
from service_kit import errors

EMA = "/ExponentialMovingAverage"


@pytest.mark.parametrize(
    ("text", "pattern", "replacement"),
    [
        ("^tower_0/=", "^tower_0/", ""),
        (":0$=", ":0$", ""),
        ("^=model/", "^", "model/"),
        (r"^b(\d+)/=block_\1/", r"^b(\d+)/", r"block_\1/"),
        ("^(?=conv)=net/", "^(?=conv)", "net/"),
        ("(?<=x)y=", "(?<=x)y", ""),
        (r"a=b\=c", "a", "b=c"),
        (r"a\=b=c", r"a\=b", "c"),
        (r"a\\=b", r"a\\", "b"),
        (r"(?P<n>x)=\g<n>\g<n>", "(?P<n>x)", r"\g<n>\g<n>"),
    ],
)
def test_is_split_at_the_last_equals_sign_that_stands_alone(
    text: str, pattern: str, replacement: str
) -> None:
    rewrite = parse_rewrite(text)
    assert (rewrite.pattern, rewrite.replacement) == (pattern, replacement)
    assert parse_rewrite(rewrite.text) == rewrite


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tower_0/", r"'tower_0/' has no `=`"),
        (r"a\=b", "has no `=`"),
        ("", "has no `=`"),
        ("=x", "pattern is empty: use \\^"),
        ("a(b=", r"pattern 'a\(b': missing \), unterminated subpattern at position 1"),
        ("conv/(?=w)", r"pattern 'conv/\(\?'"),
        (r"a=\1", r"replacement '\\\\1': invalid group reference 1 at position 1"),
        (r"a=\g<n>", "replacement .*: unknown group name 'n'"),
        (r"a=\q", r"replacement .*: bad escape \\q at position 0"),
        ("a{99999999999999999999}=", "pattern .*: the repetition number is too large"),
        ("x" * 301 + "=", "pattern has 301 characters: it may have 300"),
        ("x=" + "y" * 301, "replacement has 301 characters"),
        ("ä=", "all of them ASCII"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=said):
        parse_rewrite(text)


def test_too_many_are_refused() -> None:
    assert len(parse_rewrites(["a=b"] * 32)) == 32
    with pytest.raises(errors.InvalidRequest, match="there are 33 key rewrites, at most 32"):
        parse_rewrites(["a=b"] * 33)


def test_a_pattern_that_would_never_end_is_not_matched_while_it_is_read() -> None:
    # Each of them takes longer than a test may, if it is matched even with an empty text.
    never = "(?:" * 6 + "(?:x?){60000}" + "){60000}" * 6
    assert parse_rewrite(f"{never}=\\g<0>").pattern == never


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@given(st.text(st.sampled_from(r"(?P<n>)[]{}*+|^$\1g=0a,:"), max_size=MAX_LENGTH))
def test_no_text_makes_anything_but_a_rewrite_or_a_clear_error(text: str) -> None:
    try:
        rewrite = parse_rewrite(text)
    except errors.InvalidRequest:
        return
    again = parse_rewrite(rewrite.text)
    assert again.pattern == rewrite.pattern
    # `\=` in a replacement is a backslash and a `=`; it comes back as both, escaped.
    assert rewritten(["g0a:1"], [again]).keys() == rewritten(["g0a:1"], [rewrite]).keys()


@pytest.mark.parametrize(
    ("texts", "key", "name"),
    [
        (["^tower_0/="], "tower_0/conv/w", "conv/w"),
        (["^tower_0/="], f"tower_0/conv/w{EMA}", f"conv/w{EMA}"),
        ([":0$="], "w:0", "w"),
        ([":0$="], f"w{EMA}:0", f"w{EMA}"),
        ([":0$="], f"w:0{EMA}", f"w{EMA}"),
        (["$=:0"], f"w{EMA}", f"w:0{EMA}"),
        (["^=model/"], f"w{EMA}:0", f"model/w{EMA}:0"),
        (["^=model/"], f"w:0{EMA}", f"model/w:0{EMA}"),
        (["kernel$=weights"], f"a/kernel{EMA}", f"a/weights{EMA}"),
        ([":0$=", "^=m/", "^m/a=b"], f"a/w{EMA}:0", f"b/w{EMA}"),
        (["/ema$=/ExponentialMovingAverage"], "w/ema", f"w{EMA}"),
        (["/ExponentialMovingAverage$="], f"w{EMA}", "w"),
        ([r"^(\w+)/ExponentialMovingAverage$=ema/\1"], f"w{EMA}", "ema/w"),
        ([], f"w{EMA}:0", f"w{EMA}:0"),
    ],
)
def test_keys_are_renamed_and_moving_averages_with_their_variables(
    texts: list[str], key: str, name: str
) -> None:
    assert rewritten([key], parse_rewrites(texts)) == {name: key}


def test_the_order_of_keys_and_of_rewrites_is_kept() -> None:
    rewrites = parse_rewrites(["^a/=b/", "^b/=c/"])
    assert list(rewritten(["z", "a/w", "b/v"], rewrites).items()) == [
        ("z", "z"), ("c/w", "a/w"), ("c/v", "b/v"),
    ]  # fmt: skip


def test_two_keys_of_one_name_are_both_named() -> None:
    with pytest.raises(
        errors.InvalidRequest, match="make w of both tower_0/w and tower_1/w: make the patterns"
    ):
        rewritten(["tower_0/w", "tower_1/w"], parse_rewrites([r"^tower_\d+/="]))


@pytest.mark.parametrize("key", ["w", f"w{EMA}"])
def test_a_key_has_to_keep_a_name(key: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=f"name of 0 characters of {key}"):
        rewritten([key], [KeyRewrite("^w$", "")])


def test_names_cannot_grow_without_end() -> None:
    with pytest.raises(errors.InvalidRequest, match="make a name of 6250 characters of keyab"):
        rewritten(
            ["keyab"] * 2, [KeyRewrite("^.*$", r"\g<0>" * 50), KeyRewrite("^.*$", r"\g<0>" * 25)]
        )
