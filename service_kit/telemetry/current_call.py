"""The rpc that runs, for whoever counts or logs by it."""

from __future__ import annotations

import uuid
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

# Of callers when there is nothing to know them by.
ANONYMOUS = "anonymous"
_LONGEST_REQUEST_ID = 64


class CurrentCall:
    """What lines of the log and counts have of a call.

    Attributes:
        method: full name, `/package.Service/Method`; empty: what runs was not asked for by rpc.
        caller: who calls, once it is admitted.
        trace: id of the trace that records it, in hexadecimal; empty: none does.
    """

    __slots__ = ("_request_id", "caller", "is_admitted", "method", "trace")

    def __init__(self, method: str = "", request_id: str = "") -> None:
        """Begins a call.

        Args:
            method: full name.
            request_id: the caller's own name of the call; empty: it gets one when it is asked for.
        """
        self.method = method
        self.caller = ANONYMOUS
        self.is_admitted = False
        self.trace = ""
        self._request_id = request_id

    @property
    def request_id(self) -> str:
        """A name of the call for the logs of both sides, at most 64 characters."""
        given = self._request_id
        # It may come from anybody, and a log is read on a terminal.
        if not given or not (given.isascii() and given.isprintable()):
            # Made when somebody asks: few calls are logged.
            given = self._request_id = uuid.uuid4().hex[:12]
        return given[:_LONGEST_REQUEST_ID]

    def log_fields(self) -> dict[str, str]:
        """Returns what each line of the log has of it."""
        fields = {"request": self.request_id}
        if self.is_admitted:
            fields["caller"] = self.caller
        if self.trace:
            fields["trace"] = self.trace
        return fields


_NO_CALL = CurrentCall()
current_call: ContextVar[CurrentCall] = ContextVar("current_call", default=_NO_CALL)


def add_call(_: object, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Adds what a line of the log has of the call that runs; a processor of structlog's."""
    call = current_call.get()
    return line if call is _NO_CALL else {**call.log_fields(), **line}
