from __future__ import annotations

import pytest

from exporter_service.service.caller_limit import CallerLimit
from service_kit import errors


def test_each_caller_has_places_of_its_own() -> None:
    limit = CallerLimit(2)
    full = pytest.raises(errors.TooManyConversions, match="web has 2 conversions")
    with limit.place("web"), limit.place("web"), limit.place("ops"):
        with full as caught, limit.place("web"):
            pass
        assert caught.value.retry_after
    with limit.place("web"), limit.place("web"):
        pass


def test_a_conversion_that_fails_gives_its_place_back() -> None:
    limit = CallerLimit(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limit.place("web"):
            raise ZeroDivisionError


def test_without_a_limit_everybody_may_have_any_number() -> None:
    limit = CallerLimit(None)
    with limit.place("web"), limit.place("web"), limit.place("web"):
        pass
