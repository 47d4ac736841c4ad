from __future__ import annotations

import grpc
import pytest
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from service_kit import errors, status


def _all_errors() -> list[type[errors.PbserveError]]:
    return sorted(
        (
            cls
            for cls in vars(errors).values()
            if isinstance(cls, type) and issubclass(cls, errors.PbserveError)
        ),
        key=lambda cls: cls.__name__,
    )


@pytest.mark.parametrize("cls", [c for c in _all_errors() if c is not errors.PbserveError])
def test_every_error_has_a_status_in_the_table(cls: type[errors.PbserveError]) -> None:
    assert any(ancestor in status.STATUS_OF for ancestor in cls.__mro__)


@pytest.mark.parametrize("cls", _all_errors())
def test_an_error_comes_back_as_what_it_was(cls: type[errors.PbserveError]) -> None:
    back = status.from_proto(status.to_proto(cls("what, where, what to do", retry_after=1.5)))
    assert type(back) is cls
    assert (back.message, back.retry_after) == ("what, where, what to do", 1.5)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidTensor("x"), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.CheckpointNotFound("x"), grpc.StatusCode.NOT_FOUND),
        (errors.OutsideRoots("x"), grpc.StatusCode.PERMISSION_DENIED),
        (errors.CheckpointMismatch("x"), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.MovingAverageMissing("x"), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.CheckpointCorrupt("x"), grpc.StatusCode.DATA_LOSS),
        (errors.CardNotFound("x"), grpc.StatusCode.NOT_FOUND),
        (errors.QueueFull("x"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.Unsupported("x"), grpc.StatusCode.UNIMPLEMENTED),
        (errors.VersionTaken("x"), grpc.StatusCode.ALREADY_EXISTS),
        (errors.ConversionCrashed("x"), grpc.StatusCode.ABORTED),
        (errors.ConversionTimedOut("x"), grpc.StatusCode.DEADLINE_EXCEEDED),
        (errors.ConversionTooLarge("x"), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_errors_have_the_codes_of_the_contract(
    error: errors.PbserveError, code: grpc.StatusCode
) -> None:
    assert status.code_of(error) is code


def test_a_status_of_another_origin_keeps_its_code_and_words() -> None:
    error = status.from_proto(status_pb2.Status(code=7, message="no"))
    assert isinstance(error, errors.RemoteError)
    assert str(error) == "PERMISSION_DENIED: no"


@given(st.text(max_size=20_000))
def test_what_is_sent_fits_into_the_trailers_of_a_call(message: str) -> None:
    sent = status.to_proto(errors.NotFound(message)).message
    quoted = sum(
        len(c.encode(errors="replace")) * (1 if " " <= c <= "~" and c != "%" else 3) for c in sent
    )
    assert quoted + 4 / 3 * len(sent.encode(errors="replace")) < 7700
    assert sent == message or sent.endswith(" [cut]")
