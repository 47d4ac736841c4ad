"""Whether a failed call is tried again, and when. Values in, values out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from service_kit import errors
from service_kit.status import code_of

# Of the doubling; far above what any `longest_pause` leaves of it.
_MAX_DOUBLINGS = 60


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently calls are tried.

    Attributes:
        attempts: tries of one call, the first included; 1: none is repeated.
        stream_attempts: tries of one group of a stream, and tries in a row to open a stream
            again that has had answers. By default about 16 s, 31 s at most: a server is
            restarted in place within it.
        first_pause: seconds before the second try, at most.
        longest_pause: seconds that this may grow to; it doubles with every try.
        patience: seconds that a server may ask to wait (RetryInfo); when it asks for more, the
            error is raised at once, with `retry_after`.
    """

    attempts: int = 5
    stream_attempts: int = 12
    first_pause: float = 0.1
    longest_pause: float = 5.0
    patience: float = 10.0

    def __post_init__(self) -> None:
        """Raises `InvalidRequest` for numbers that cannot be meant."""
        if self.attempts < 1 or self.stream_attempts < 1:
            raise errors.InvalidRequest("a retry policy has at least 1 attempt")
        for name in ("first_pause", "longest_pause", "patience"):
            seconds = getattr(self, name)
            if not (seconds >= 0 and math.isfinite(seconds)):
                raise errors.InvalidRequest(f"{name} of a retry policy is {seconds}: give seconds")


def passes(error: errors.PbserveError) -> bool:
    """Whether the same request may succeed later.

    That is UNAVAILABLE, and RESOURCE_EXHAUSTED when the server says when: without RetryInfo the
    request itself is too large.
    """
    code = code_of(error)
    if isinstance(error, errors.RemoteError):
        return error.retry_after is not None
    return code is grpc.StatusCode.UNAVAILABLE or (
        code is grpc.StatusCode.RESOURCE_EXHAUSTED and error.retry_after is not None
    )


def pause_before_retry(
    policy: RetryPolicy,
    failed: int,
    error: errors.PbserveError,
    *,
    attempts: int,
    left: float,
    random: Callable[[], float],
) -> float | None:
    """Returns the seconds until the next try; None: the error stands.

    Exponential backoff with full jitter, which spreads a crowd of callers best
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), on top of what
    the server asked for, so that the crowd does not come back in the same moment either.

    Args:
        policy: see there.
        failed: tries so far, at least 1.
        error: what the last one ended with.
        attempts: tries that there may be.
        left: seconds until the deadline; infinity: there is none.
        random: uniform, from 0 to 1.
    """
    asked = max(0.0, error.retry_after or 0.0)
    if failed >= attempts or asked > policy.patience or not passes(error):
        return None
    grown = policy.first_pause * 2.0 ** min(failed - 1, _MAX_DOUBLINGS)
    pause = asked + min(grown, policy.longest_pause) * random()
    return pause if pause < left else None
