from __future__ import annotations

import pytest

from service_kit import errors
from service_kit.http.http_status import http_status, retry_headers


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidTensor, 400),
        (errors.Unconvertible, 400),
        (errors.OutsideRoots, 403),
        (errors.ModelNotFound, 404),
        (errors.VersionTaken, 409),
        (errors.QueueFull, 429),
        (errors.EngineFailed, 500),
        (errors.InternalError, 500),
        (errors.PbserveError, 500),
        (errors.Unsupported, 501),
        (errors.ModelUnavailable, 503),
        (errors.CardOutOfOrder, 503),
        (errors.DeadlineExpired, 504),
    ],
)
def test_an_error_has_the_http_status_of_its_grpc_status(
    error: type[errors.PbserveError], status: int
) -> None:
    assert http_status(error("words")) == status


@pytest.mark.parametrize(
    ("seconds", "headers"),
    [(None, {}), (0.01, {"Retry-After": "1"}), (2.4, {"Retry-After": "3"})],
)
def test_an_error_that_passes_says_when_to_come_back_in_whole_seconds(
    seconds: float | None, headers: dict[str, str]
) -> None:
    assert retry_headers(errors.QueueFull("words", retry_after=seconds)) == headers
