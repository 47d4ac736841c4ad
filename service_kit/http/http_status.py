"""Which HTTP status and headers an error has: those of its gRPC status."""

from __future__ import annotations

import math

import grpc

from service_kit import errors
from service_kit.status import code_of

# The mapping that google/rpc/code.proto documents.
_HTTP_OF: dict[grpc.StatusCode, int] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


def http_status(error: errors.PbserveError) -> int:
    """Returns the HTTP status code of an error; 500 for what says no more."""
    return _HTTP_OF.get(code_of(error), 500)


def retry_headers(error: errors.PbserveError) -> dict[str, str]:
    """Returns the header that says when to come back, for an error that passes."""
    if error.retry_after is None:
        return {}
    # Whole seconds, as the header has them.
    return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
