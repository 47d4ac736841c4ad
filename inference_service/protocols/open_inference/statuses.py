"""Errors of the core as Triton's clients expect them: its words, and what they may try again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from service_kit import errors

# Clients look for these words.
_UNKNOWN_MODEL = "Request for unknown model: "


class TryAgain(errors.ModelUnavailable):
    """Another error of the core, with the status of those that pass and its own reason."""

    cause_reason = ""

    @property
    def reason(self) -> str:
        """The reason of the other error."""
        return self.cause_reason or super().reason


@contextlib.contextmanager
def triton_errors() -> Iterator[None]:
    """Turns errors of the core into those with Triton's status, see `triton_error`."""
    try:
        yield
    except errors.PbserveError as error:
        raise triton_error(error) from error


def triton_error(error: errors.PbserveError, *, timed: bool = False) -> errors.PbserveError:
    """Returns the error with Triton's status, which may be the same.

    Triton's scheduler refuses with UNAVAILABLE what finds its queue full, and what its `timeout`
    has left waiting for too long (dynamic_batch_scheduler.cc, as of release 2.60); the model that
    a request names is looked up by model_repository_manager.cc.

    Args:
        error: of the core.
        timed: whether a request's `timeout` was what limited its time.
    """
    if isinstance(error, (errors.ModelNotFound, errors.VersionNotFound, errors.LabelNotFound)):
        return type(error)(_UNKNOWN_MODEL + error.message)
    if isinstance(error, errors.ModelUnavailable):
        message = _UNKNOWN_MODEL + error.message
        return errors.ModelUnavailable(message, retry_after=error.retry_after)
    if isinstance(error, errors.QueueFull) or (timed and isinstance(error, errors.DeadlineExpired)):
        return _passing(error)
    return error


def _passing(error: errors.PbserveError) -> TryAgain:
    passing = TryAgain(error.message, retry_after=error.retry_after)
    passing.cause_reason = error.reason
    return passing
