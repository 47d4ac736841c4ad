"""One call of an asyncio server: admission, its error as a status, its end."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn

import grpc
import structlog
from grpc_status import rpc_status
from typing_extensions import Self

from service_kit import errors, status
from service_kit.auth.access import Access
from service_kit.auth.caller import ANONYMOUS, current_caller, current_method
from service_kit.server.call_spans import CallSpan, CallSpans
from service_kit.server.credentials import certificate_names
from service_kit.server.in_flight import InFlightCalls
from service_kit.server.incidents import describe_error

# A caller's own name of a call, for the logs of both sides.
_REQUEST_ID_KEY = "x-request-id"
_LONGEST_REQUEST_ID = 64


@dataclass(frozen=True, slots=True)
class FinishedCall:
    """A call that has ended: its full method, who called, how it ended, and after how long (s)."""

    method: str
    caller: str
    code: grpc.StatusCode
    seconds: float


@dataclass(frozen=True, slots=True)
class CallRules:
    """What holds for every call of a server; see `CallInterceptor`."""

    access: Access
    in_flight: InFlightCalls
    observers: Sequence[Callable[[FinishedCall], None]]
    spans: CallSpans | None
    clock: Callable[[], float]


def authorizations(metadata: Sequence[Any] | None) -> list[str]:
    """Returns what a caller's metadata say of who it is."""
    return [str(value) for key, value in metadata or () if key == "authorization"]


class ServedCall:
    """One call, from its admission to its end."""

    def __init__(self, method: str, context: Any, rules: CallRules) -> None:
        """Begins a call of a full method; `context` is its `grpc.aio.ServicerContext`."""
        self._method = method
        self._context = context
        self._rules = rules
        self._began = rules.clock()
        self._caller = ANONYMOUS
        self._span: CallSpan | None = None

    async def __aenter__(self) -> Self:
        metadata = self._context.invocation_metadata() or ()
        given = str(next((value for key, value in metadata if key == _REQUEST_ID_KEY), ""))
        # It may come from anybody, and a log is read on a terminal.
        is_plain = given.isascii() and given.isprintable()
        structlog.contextvars.bind_contextvars(
            request=(given[:_LONGEST_REQUEST_ID] if is_plain else "") or uuid.uuid4().hex[:12]
        )
        try:
            self._caller = self._rules.access.admit(
                self._method,
                authorizations(metadata),
                certificate_names(self._context),
            )
            self._rules.in_flight.enter(self._method)
        except errors.PbserveError as error:
            await self._end(error)
        current_caller.set(self._caller)
        current_method.set(self._method)
        structlog.contextvars.bind_contextvars(caller=self._caller)
        if self._rules.spans:
            # Not before: who is refused could fill the traces.
            self._span = self._rules.spans.begin(self._method, metadata)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._end(error)
        finally:
            self._rules.in_flight.leave(self._method)

    async def _end(self, error: BaseException | None) -> None:
        if not isinstance(error, Exception) or isinstance(error, grpc.aio.AbortError):
            self._tell(self._code(error))
            # Whatever ended the call goes on.
            return
        described = describe_error(error, self._method)
        self._tell(status.code_of(described))
        await self._abort(described)

    async def _abort(self, error: errors.PbserveError) -> NoReturn:
        await self._context.abort_with_status(rpc_status.to_status(status.to_proto(error)))
        raise AssertionError("abort_with_status returned")  # pragma: no cover

    def _code(self, error: BaseException | None) -> grpc.StatusCode:
        if isinstance(error, grpc.aio.AbortError) or error is None:
            number = self._context.code() or 0
            return next(
                (code for code in grpc.StatusCode if number in (code, code.value[0])),
                grpc.StatusCode.UNKNOWN,
            )
        left = self._context.time_remaining()
        expired = left is not None and left <= 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED

    def _tell(self, code: grpc.StatusCode) -> None:
        if self._span:
            self._span.end(code)
        seconds = self._rules.clock() - self._began
        call = FinishedCall(self._method, self._caller, code, seconds)
        for observer in self._rules.observers:
            observer(call)
