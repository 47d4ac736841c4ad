"""Regular expressions that turn checkpoint keys into names of variables. Values in, values out.

Patterns come from requests. Here they are compiled and no more, which is cheap; they are
matched only where a conversion has a process and a time limit of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from exporter_service.checkpoints.moving_average import SHADOW_SUFFIX, shadowed_key
from service_kit import errors

_Result = TypeVar("_Result")

MAX_REWRITES = 32
# Of a pattern and of a replacement.
MAX_LENGTH = 300
# References in a replacement can multiply a key's length with every rewrite.
_MAX_KEY_LENGTH = 4096
_OUTPUT = ":0"
_SHADOW = SHADOW_SUFFIX[1:]
# A character with its backslash, or a `=` that has none.
_ESCAPED_OR_EQUALS = re.compile(r"\\.|=", re.DOTALL)


@dataclass(frozen=True, slots=True)
class KeyRewrite:
    """`re.sub(pattern, replacement, key)`.

    Attributes:
        pattern: a regular expression of Python, at most 300 ASCII characters.
        replacement: as for re.sub, with references to groups; may be empty; at most 300.
    """

    pattern: str
    replacement: str

    def __post_init__(self) -> None:
        """Compiles both.

        Raises:
            InvalidRequest: says which is wrong, how, and where in it.
        """
        for what, text in (("pattern", self.pattern), ("replacement", self.replacement)):
            if len(text) > MAX_LENGTH or not text.isascii():
                raise errors.InvalidRequest(
                    f"a key rewrite's {what} has {len(text)} characters: it may have "
                    f"{MAX_LENGTH}, all of them ASCII"
                )
        if not self.pattern:
            raise errors.InvalidRequest(
                "a key rewrite's pattern is empty: use ^ to put something before every key"
            )
        compiled = _check(f"pattern {self.pattern!r}", lambda: re.compile(self.pattern))
        # Something with the same groups that matches at once, whatever the pattern is.
        names = {number: name for name, number in compiled.groupindex.items()}
        groups = (
            f"(?P<{names[number]}>)" if number in names else "()"
            for number in range(1, compiled.groups + 1)
        )
        same_groups = re.compile("".join(groups))
        _check(f"replacement {self.replacement!r}", lambda: same_groups.sub(self.replacement, ""))

    @property
    def text(self) -> str:
        """`PATTERN=REPLACEMENT`, as `parse_rewrite` takes it."""
        escaped = _ESCAPED_OR_EQUALS.sub(
            lambda match: {"=": r"\=", r"\=": r"\\\="}.get(match[0], match[0]), self.replacement
        )
        return f"{self.pattern}={escaped}"


def parse_rewrite(text: str) -> KeyRewrite:
    r"""Reads `PATTERN=REPLACEMENT`, split at the last `=` without a backslash before it.

    Lookaheads hold `=`, names of variables never do; `\=` stands for one in the replacement.

    Raises:
        InvalidRequest: there is no such `=`, or a part is wrong; says what and where.
    """
    splits = [match.start() for match in _ESCAPED_OR_EQUALS.finditer(text) if match[0] == "="]
    if not splits:
        raise errors.InvalidRequest(
            f"a key rewrite is PATTERN=REPLACEMENT, and {_shorten(text)} has no `=`: "
            "to remove what the pattern matches, end it with one"
        )
    pattern, replacement = text[: splits[-1]], text[splits[-1] + 1 :]
    unescaped = _ESCAPED_OR_EQUALS.sub(
        lambda match: "=" if match[0] == r"\=" else match[0], replacement
    )
    return KeyRewrite(pattern, unescaped)


def parse_rewrites(texts: Sequence[str]) -> tuple[KeyRewrite, ...]:
    """Reads rewrites in the order in which they are applied.

    Raises:
        InvalidRequest: one is wrong, or there are more than 32.
    """
    if len(texts) > MAX_REWRITES:
        raise errors.InvalidRequest(
            f"there are {len(texts)} key rewrites, at most {MAX_REWRITES} are taken: join "
            "patterns with |"
        )
    return tuple(parse_rewrite(text) for text in texts)


def rewritten(keys: Iterable[str], rewrites: Sequence[KeyRewrite]) -> dict[str, str]:
    """Returns new key -> original key, in the order given.

    A moving average is renamed as its variable is, and stays its moving average: `:0$` makes
    `w` of `w:0`, so it makes `w/ExponentialMovingAverage` of `w/ExponentialMovingAverage:0`. Only
    a pattern that names ExponentialMovingAverage sees the whole key.

    Raises:
        InvalidRequest: two keys get the same name, or one gets none or a very long one.
    """
    steps = [(re.compile(rewrite.pattern), rewrite.replacement) for rewrite in rewrites]
    original: dict[str, str] = {}
    for key in keys:
        new = key
        for pattern, replacement in steps:
            new = _rename(new, pattern, replacement)
            if not 0 < len(new) <= _MAX_KEY_LENGTH:
                raise errors.InvalidRequest(
                    f"the key rewrites make a name of {len(new)} characters of {key}: names have "
                    f"1 to {_MAX_KEY_LENGTH}; make the pattern {pattern.pattern!r} match less"
                )
        if new in original:
            raise errors.InvalidRequest(
                f"the key rewrites make {new} of both {original[new]} and {key}: make the "
                "patterns match one of them only"
            )
        original[new] = key
    return original


def _rename(key: str, pattern: re.Pattern[str], replacement: str) -> str:
    owner = shadowed_key(key)
    if owner is None or _SHADOW in pattern.pattern:
        return pattern.sub(replacement, key)
    owner = pattern.sub(replacement, owner)
    if not owner:
        return owner
    if key.endswith(_OUTPUT) and owner.endswith(_OUTPUT):
        return owner.removesuffix(_OUTPUT) + SHADOW_SUFFIX + _OUTPUT
    return owner + SHADOW_SUFFIX


def _check(what: str, compiled: Callable[[], _Result]) -> _Result:
    """Returns what `re` makes of a text, or says where the text is wrong."""
    try:
        return compiled()
    except re.error as error:
        place = "" if error.pos is None else f" at position {error.pos}"
        raise errors.InvalidRequest(f"a key rewrite's {what}: {error.msg}{place}") from error
    # Of numbers without end, of groups that do not exist, of groups in groups in groups.
    except (OverflowError, IndexError, RecursionError) as error:
        raise errors.InvalidRequest(f"a key rewrite's {what}: {error}") from error


def _shorten(text: str) -> str:
    return repr(text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}...")
