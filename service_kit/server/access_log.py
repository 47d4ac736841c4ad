"""Lines of the log about calls: every failed one, and some of the others."""

from __future__ import annotations

import grpc
import structlog

from service_kit.server.served_call import FinishedCall

_log = structlog.get_logger(__name__)
# Probes come every few seconds, for ever, and health has its metrics.
_UNLOGGED = "/grpc."
# How a caller ends a call or a stream that it has had enough of.
_FINE = frozenset([grpc.StatusCode.OK, grpc.StatusCode.CANCELLED])


class AccessLog:
    """Is told of calls at their end. Belongs to the event loop.

    The line has the request's id and the caller besides, which the call's own context adds.
    """

    def __init__(self, every: int) -> None:
        """Logs one of `every` calls that went well; 0: none of them."""
        self._every = every
        self._calls = 0

    def __call__(self, call: FinishedCall) -> None:
        """Logs a call, if it is its turn."""
        if call.method.startswith(_UNLOGGED):
            return
        if call.code in _FINE and not self._takes():
            return
        _log.info(
            "call",
            method=call.method,
            code=call.code.name,
            seconds=round(call.seconds, 6),
            # So that counting lines, weighted, gives calls.
            stands_for=self._every if call.code in _FINE else 1,
        )

    def _takes(self) -> bool:
        if not self._every:
            return False
        self._calls += 1
        # The first is one: who tries a server out sees a line at once.
        return (self._calls - 1) % self._every == 0
