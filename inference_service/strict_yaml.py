"""YAML without its surprises: every key once, no aliases, plain values alone."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from service_kit import errors


class _StrictLoader(yaml.SafeLoader):
    """Refuses what a reader of the file would not expect."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        # A few lines of aliases can stand for gigabytes.
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not read: write the value out",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - the base class's
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} is no text", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} is there twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


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
        raise errors.InvalidRequest(
            f"{where}{line}: {error.problem or error.context or 'this is no YAML'}"
        ) from None
    # YAMLError for characters that YAML has not; the others come out of its constructors.
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise errors.InvalidRequest(f"{where}: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise errors.InvalidRequest(f"{where}: it is nested too deeply") from None
