"""What a caller may know of an error, and what only the operator may."""

from __future__ import annotations

import uuid

import structlog

from service_kit import errors

_log = structlog.get_logger(__name__)
# Of an error's words in the log; a caller may have sent a megabyte of them.
_LOGGED_CHARACTERS = 2000


def describe_error(error: Exception, method: str) -> errors.PbserveError:
    """Returns what a caller may know of `error`, and logs what only the operator may.

    Expected errors come back as they are; a defect comes back as an `InternalError` that
    carries nothing but its incident id.
    """
    if isinstance(error, errors.PbserveError):
        _log.info(
            "request_failed",
            method=method,
            reason=error.reason,
            message=error.message[:_LOGGED_CHARACTERS],
        )
        return error
    incident = uuid.uuid4().hex[:12]
    _log.error("incident", incident=incident, method=method, exc_info=error)
    return errors.InternalError(
        f"internal error, incident {incident}: the server's log has the details"
    )
