"""The table from errors to gRPC statuses, and the way back for clients."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast
from urllib.parse import unquote

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from service_kit import errors

ERROR_DOMAIN = "pbserve"
_MESSAGE_BUDGET_BYTES = 7600
# Who answers which service, and where unless it is told otherwise.
_SERVED_BY = {
    "pbserve.inference.v1.InferenceService": ("pbserve serve", "127.0.0.1:8500"),
    "pbserve.exporter.v1.ExporterService": ("pbexport serve", "127.0.0.1:8600"),
}
# As gRPC says it of the last address that it tried.
_REFUSED = re.compile(r"ipv[46]:(\S+:\d+): .*[Cc]onnection refused")
# gRPC's words for a message beyond a limit of whoever sends or receives it.
_TOO_LARGE = "larger than max"

# An error takes the status of the nearest class above it that is listed.
STATUS_OF: dict[type[errors.PbserveError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.VersionTaken: grpc.StatusCode.ALREADY_EXISTS,
    errors.RegionTaken: grpc.StatusCode.ALREADY_EXISTS,
    errors.TooManyRegions: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.OutsideRoots: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.RoleMissing: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unconvertible: grpc.StatusCode.FAILED_PRECONDITION,
    errors.CheckpointCorrupt: grpc.StatusCode.DATA_LOSS,
    errors.ArtifactCorrupt: grpc.StatusCode.DATA_LOSS,
    # Not UNAVAILABLE: a conversion that died of its own size would be retried for ever.
    errors.ConversionCrashed: grpc.StatusCode.ABORTED,
    errors.ConversionTimedOut: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.ConversionTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooManyConversions: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.ModelUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.ServerStopping: grpc.StatusCode.UNAVAILABLE,
    errors.StoreUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.ScratchUnavailable: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.AnswerTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooManyCalls: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooManyStreams: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.QueueFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.CardOutOfOrder: grpc.StatusCode.UNAVAILABLE,
    errors.LoadTimedOut: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Superseded: grpc.StatusCode.ABORTED,
    errors.LabelInUse: grpc.StatusCode.FAILED_PRECONDITION,
    # The three below: as TensorFlow Serving does.
    errors.LabelTooEarly: grpc.StatusCode.FAILED_PRECONDITION,
    errors.SignatureNotFound: grpc.StatusCode.FAILED_PRECONDITION,
    errors.LoadsFailed: grpc.StatusCode.UNKNOWN,
    errors.DeadlineExpired: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.EngineFailed: grpc.StatusCode.INTERNAL,
    errors.EngineUnfit: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Quarantined: grpc.StatusCode.FAILED_PRECONDITION,
    errors.GraphRefused: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    errors.InternalError: grpc.StatusCode.INTERNAL,
    errors.RemoteError: grpc.StatusCode.UNKNOWN,
}


def code_of(error: errors.PbserveError) -> grpc.StatusCode:
    """Returns the gRPC status code of an error."""
    for ancestor in type(error).__mro__:
        if ancestor in STATUS_OF:
            return STATUS_OF[ancestor]
    return grpc.StatusCode.UNKNOWN


def to_proto(error: errors.PbserveError) -> status_pb2.Status:
    """Returns the error as `google.rpc.Status`, with ErrorInfo and, if it passes, RetryInfo."""
    status = status_pb2.Status(code=code_of(error).value[0], message=_sendable(error.message))
    reason = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN)
    status.details.append(_pack(reason))
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(error.retry_after * 1e9))
        status.details.append(_pack(retry))
    return status


def from_proto(status: status_pb2.Status) -> errors.PbserveError:
    """Returns the error that a `google.rpc.Status` stands for.

    A status without our ErrorInfo becomes a `RemoteError` that names the code, or
    `ServerStopping` when that is UNAVAILABLE.
    """
    retry_after = None
    cls: type[errors.PbserveError] | None = None
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            cls = _CLASS_OF.get(info.reason)
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    if cls is None and status.code == grpc.StatusCode.UNAVAILABLE.value[0]:
        # Of something between us and the server, or of a newer server: what it asks for is clear.
        cls = errors.ServerStopping
    if cls is None:
        return errors.RemoteError(
            f"{_code_name(status.code)}: {status.message}", retry_after=retry_after
        )
    return cls(status.message, retry_after=retry_after)


def from_rpc_error(error: grpc.RpcError, service: str = "") -> errors.PbserveError:
    """Returns the error behind a failed call; works for synchronous and asyncio calls.

    Args:
        error: of gRPC.
        service: full name of the service that was asked; empty: not said.
    """
    # Both kinds have the methods of grpc.Call, only one of them says so.
    call = cast("grpc.Call", error)
    try:
        status = rpc_status.from_call(call)
    except ValueError:
        # Trailers of something between us and the server.
        status = None
    return _without_status(call, service) if status is None else from_proto(status)


def _without_status(call: grpc.Call, service: str) -> errors.PbserveError:
    """Returns the error of a call that no service of ours has ended."""
    code, details = call.code(), call.details() or "the server gave no reason"
    made: errors.PbserveError = errors.RemoteError(f"{code.name}: {details}")
    if code is grpc.StatusCode.UNAVAILABLE:
        made = errors.ServerStopping(_unreachable(details, service))
    elif code is grpc.StatusCode.UNIMPLEMENTED and service in _SERVED_BY:
        program, address = _SERVED_BY[service]
        made = errors.Unsupported(
            f"give the address of `{program}` (by default {address}): what listens here does "
            f"not answer {service}, or is of an older release ({details})"
        )
    elif code is grpc.StatusCode.CANCELLED:
        # Callers who cancel hear of it otherwise. A server that stops ends so what comes in
        # between its last announcement and the end of the connection.
        made = errors.ServerStopping(f"the other side ended the call: {details}")
    elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
        made = errors.DeadlineExpired(f"the call took longer than its deadline: {details}")
    elif code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in details:
        made = _too_large(details)
    return made


def _unreachable(details: str, service: str) -> str:
    """Returns gRPC's reason for people, as far as it is the common one."""
    refused = _REFUSED.search(details)
    if refused is None:
        return f"cannot reach the server: {details}"
    program = f"`{_SERVED_BY[service][0]}`" if service in _SERVED_BY else "the server"
    return f"nothing listens on {unquote(refused[1])}: is {program} running?"


def _too_large(details: str) -> errors.PbserveError:
    """Returns what gRPC itself says of a message on either side."""
    if details.startswith("CLIENT: Received"):
        return errors.AnswerTooLarge(
            f"ask for fewer images or outputs at a time, or have this client take more: {details}"
        )
    return errors.MessageTooLarge(
        "send fewer images at a time, or have the operator raise --max-message-mb: " + details
    )


def _sendable(message: str) -> str:
    """Returns the message, cut where it would not fit into the trailers of a call.

    It travels twice: percent-encoded as `grpc-message`, and inside the base64 of
    `grpc-status-details-bin`. Peers refuse trailers above 8 KiB by default, and the caller
    would then learn nothing at all.
    """
    size = 0.0
    for position, character in enumerate(message):
        encoded = len(character.encode(errors="replace"))
        printable = " " <= character <= "~" and character != "%"
        size += (encoded if printable else 3 * encoded) + 4 * encoded / 3
        if size > _MESSAGE_BUDGET_BYTES:
            return message[:position] + " [cut]"
    return message


def _pack(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _code_name(number: int) -> str:
    return next((code.name for code in grpc.StatusCode if code.value[0] == number), str(number))


def _tree(root: type[errors.PbserveError]) -> Iterator[type[errors.PbserveError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


_CLASS_OF = {cls("").reason: cls for cls in _tree(errors.PbserveError)}
