"""The attempts of one call: how many there were, and what is left of its time."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

from service_kit import errors
from service_kit.client.retry import RetryPolicy, pause_before_retry

# Ten years: what is longer means no limit, and would not fit into all clocks on the way.
_NO_LIMIT_SECONDS = 3.2e8


class Attempts:
    """Begins with the call; belongs to it alone."""

    def __init__(
        self,
        policy: RetryPolicy,
        seconds: float | None,
        *,
        repeatable: bool = True,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        """Starts the time.

        Args:
            policy: how often and when.
            seconds: for everything, pauses included; None: no limit.
            repeatable: whether a second try does no harm.
            clock: seconds.
            uniform: random, from 0 to 1.
        """
        self.failed = 0
        self._policy = policy
        self._attempts = policy.attempts if repeatable else 1
        self._clock, self._uniform = clock, uniform
        self._ends = math.inf if seconds is None else clock() + seconds

    @property
    def left(self) -> float:
        """Seconds until the deadline, 0 or more; infinity: there is none."""
        return max(0.0, self._ends - self._clock())

    @property
    def timeout(self) -> float | None:
        """The same for gRPC, which says None for no deadline."""
        left = self.left
        return None if math.isinf(left) else left

    def pause_after(self, error: errors.PbserveError) -> float:
        """Returns the seconds until the next try, or raises `error` when there is none."""
        self.failed += 1
        pause = pause_before_retry(
            self._policy,
            self.failed,
            error,
            attempts=self._attempts,
            left=self.left,
            random=self._uniform,
        )
        if pause is None:
            raise error
        return pause


def check_seconds(timeout: float | None) -> float | None:
    """Returns a caller's timeout in seconds; None, and infinity: no limit.

    Raises:
        InvalidRequest: it is no number, or below 0.
    """
    if timeout is None:
        return None
    try:
        is_possible = timeout >= 0
    except TypeError:
        is_possible = False
    if not is_possible:
        raise errors.InvalidRequest(f"timeout {timeout!r} is no number of seconds, 0 or more")
    return float(timeout) if timeout < _NO_LIMIT_SECONDS else None
