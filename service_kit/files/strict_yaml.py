"""YAML without its surprises: every key once, no aliases, plain values alone."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Hashable
from typing import Any

import yaml

from service_kit import errors


class _StrictLoader(yaml.SafeLoader):
    """Refuses what a reader of the file would not expect."""

    # None of YAML 1.1's: there `no` is false, 010 is 8 and 1:30 is 90.
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - the base class's

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        # A few lines of aliases can stand for gigabytes.
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not read: write the value out",
                problem_mark=event.start_mark,
            )
        # The constructors of tags raise what they like for values that are not theirs.
        if getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(
                problem="tags are not read: write the plain value", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - the base class's
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"the key {reprlib.repr(key)} is no text",
                    problem_mark=key_node.start_mark,
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {reprlib.repr(key)} is there twice",
                    problem_mark=key_node.start_mark,
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


# As in YAML 1.2's core schema, without its octal and hexadecimal numbers.
for _tag, _pattern, _first in (
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?(0|[1-9][0-9]*)", [*"-+0123456789"]),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?",
        [*"-+.0123456789"],
    ),
):
    _StrictLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first
    )


def parse_yaml(text: str, where: str) -> Any:
    """Returns the values of a YAML document.

    Raises:
        InvalidRequest: it is no such document; says where in the text.
    """
    try:
        return yaml.load(text, _StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = ", ".join(filter(None, (error.context, error.problem))) or "this is no YAML"
        raise errors.InvalidRequest(f"{where}{line}: {what}") from None
    # YAMLError for characters that YAML has not, ValueError for numbers of thousands of digits.
    except (yaml.YAMLError, ValueError) as error:
        raise errors.InvalidRequest(f"{where}: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise errors.InvalidRequest(f"{where}: it is nested too deeply") from None
