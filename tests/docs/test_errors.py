"""The page of errors has every class of the tree, with its status, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator

from service_kit import errors, status
from tests.support.markdown import ROOT

_ENTRY = re.compile(r"^### (\w+)\n\n`(\w+)`: (.+?)\n(?=\n)(.*?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)


def tree(root: type[errors.PbserveError]) -> Iterator[type[errors.PbserveError]]:
    yield root
    for child in root.__subclasses__():
        # Tests elsewhere may have made some of their own.
        if child.__module__ == errors.__name__:
            yield from tree(child)


def test_the_page_lists_exactly_the_errors_that_there_are() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    found = [(name, code) for name, code, _, _ in _ENTRY.findall(page)]
    there_are = {cls.__name__: status.code_of(cls("")).name for cls in tree(errors.PbserveError)}
    assert dict(found) == there_are
    assert len(found) == len(there_are) == page.count("\n### ")


def test_every_error_but_the_root_says_what_to_do() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    silent = [name for name, _, _, rest in _ENTRY.findall(page) if "*To do:*" not in rest]
    assert silent == [errors.PbserveError.__name__]


def test_every_status_has_advice() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    advised = set(re.findall(r"^\| ([A-Z_]+) \|", page, re.MULTILINE))
    passing = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED", "INTERNAL"}
    assert advised == passing
    assert passing <= {code.name for code in status.STATUS_OF.values()}
