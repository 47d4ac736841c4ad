from __future__ import annotations

from collections.abc import Iterator

import pytest

from service_kit import errors
from service_kit.cli.exit_codes import ExitCode, exit_code_of

# Everything else is refused for good.
PASSING = {
    errors.CardOutOfOrder,
    errors.DeadlineExpired,
    errors.ModelUnavailable,
    errors.QueueFull,
    errors.ScratchUnavailable,
    errors.ServerStopping,
    errors.StoreUnavailable,
}


def tree(root: type[errors.PbserveError]) -> Iterator[type[errors.PbserveError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


KINDS = [kind for kind in tree(errors.PbserveError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_the_exit_code_of_what_it_means(kind: type[errors.PbserveError]) -> None:
    expected = ExitCode.FAILED
    if issubclass(kind, errors.NotFound):
        expected = ExitCode.NOT_FOUND
    elif kind in PASSING:
        expected = ExitCode.UNAVAILABLE
    assert exit_code_of(kind("words")) is expected


def test_the_numbers_are_those_that_scripts_know() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "UNAVAILABLE": 3,
        "NOT_FOUND": 4,
        "PARTLY": 5,
        "INTERRUPTED": 130,
    }
