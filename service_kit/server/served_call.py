"""One call of an asyncio server: admission, its error as a status, its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from grpc_status import rpc_status

from service_kit import errors, status
from service_kit.auth.access import Access
from service_kit.server.call_spans import CallSpan, CallSpans
from service_kit.server.credentials import certificate_names
from service_kit.server.in_flight import InFlightCalls
from service_kit.server.incidents import describe_error
from service_kit.telemetry.current_call import CurrentCall, current_call

# A caller's own name of a call, for the logs of both sides.
_REQUEST_ID_KEY, _AUTHORIZATION_KEY = "x-request-id", "authorization"
_CODE_OF = {number: code for code in grpc.StatusCode for number in (code, code.value[0])}


@dataclass(frozen=True, slots=True)
class FinishedCall:
    """A call that has ended: its full method, who called, how it ended, and after how long (s)."""

    method: str
    caller: str
    code: grpc.StatusCode
    seconds: float


@dataclass(frozen=True, slots=True)
class CallRules:
    """What holds for every call of a server; see `CallGuard`."""

    access: Access
    in_flight: InFlightCalls
    observers: Sequence[Callable[[FinishedCall], None]]
    spans: CallSpans | None
    clock: Callable[[], float]
    certificates: bool


def authorizations(metadata: Sequence[Any] | None) -> list[str]:
    """Returns what a caller's metadata say of who it is."""
    return [str(value) for key, value in metadata or () if key == _AUTHORIZATION_KEY]


class ServedCall:
    """One call, from its admission to its end: `admit`, then `succeed` or `fail`."""

    __slots__ = ("_began", "_call", "_context", "_is_inside", "_metadata", "_rules", "_span")

    def __init__(self, method: str, context: Any, rules: CallRules) -> None:
        """Begins a call of a full method; `context` is its `grpc.aio.ServicerContext`."""
        self._metadata = context.invocation_metadata() or ()
        given = next((value for key, value in self._metadata if key == _REQUEST_ID_KEY), "")
        self._call = CurrentCall(method, str(given))
        self._context = context
        self._rules = rules
        self._began = rules.clock()
        self._span: CallSpan | None = None
        self._is_inside = False

    def admit(self) -> None:
        """Lets the call in.

        Raises:
            Unauthenticated, RoleMissing: see `Access.admit`.
            ServerStopping, TooManyCalls: see `InFlightCalls.enter`.
        """
        rules, call = self._rules, self._call
        current_call.set(call)
        names = certificate_names(self._context) if rules.certificates else ()
        call.caller = rules.access.admit(call.method, authorizations(self._metadata), names)
        rules.in_flight.enter(call.method)
        self._is_inside = call.is_admitted = True
        if rules.spans:
            # Not before: who is refused could fill the traces.
            self._span = rules.spans.begin(call.method, self._metadata)

    def succeed(self) -> None:
        """The call has been answered."""
        # A servicer may have set another code than OK.
        self._tell(_CODE_OF.get(self._context.code() or 0, grpc.StatusCode.UNKNOWN))
        self._leave()

    async def fail(self, error: BaseException) -> None:
        """The call has ended with an error; raises its status, if it is one to tell the caller."""
        try:
            if not isinstance(error, Exception) or isinstance(error, grpc.aio.AbortError):
                self._tell(self._code(error))
                # Whatever ended the call goes on.
                return
            described = describe_error(error, self._call.method)
            self._tell(status.code_of(described))
            await self._abort(described)
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._is_inside:
            self._is_inside = False
            self._rules.in_flight.leave(self._call.method)

    async def _abort(self, error: errors.PbserveError) -> NoReturn:
        await self._context.abort_with_status(rpc_status.to_status(status.to_proto(error)))
        raise AssertionError("abort_with_status returned")  # pragma: no cover

    def _code(self, error: BaseException) -> grpc.StatusCode:
        if isinstance(error, grpc.aio.AbortError):
            return _CODE_OF.get(self._context.code() or 0, grpc.StatusCode.UNKNOWN)
        left = self._context.time_remaining()
        expired = left is not None and left <= 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED

    def _tell(self, code: grpc.StatusCode) -> None:
        if self._span:
            self._span.end(code)
        call, rules = self._call, self._rules
        ended = FinishedCall(call.method, call.caller, code, rules.clock() - self._began)
        for observer in rules.observers:
            observer(ended)
