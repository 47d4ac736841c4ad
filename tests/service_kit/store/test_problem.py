from __future__ import annotations

import pytest
from botocore import exceptions

from service_kit.store.problem import is_final, is_refusal, is_taken, told


def answer(code: str, status: int, message: str | None = None) -> Exception:
    """Returns what s3fs makes of an answer."""
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    error = OSError(22, message)
    error.__cause__ = exceptions.ClientError(response, "PutObject")
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (answer("AccessDenied", 403, "Access Denied"), "AccessDenied: Access Denied (HTTP 403)"),
        # Ceph's gateway has no sentence.
        (answer("NoSuchBucket", 404), "NoSuchBucket (HTTP 404)"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (RuntimeError(), "RuntimeError"),
        (exceptions.NoCredentialsError(), "Unable to locate credentials"),
    ],
)
def test_words_are_the_stores(error: Exception, words: str) -> None:
    assert told(error) == words


@pytest.mark.parametrize(
    "secret",
    [
        "X-Amz-Signature=SECRET",
        "X-Amz-Credential=SECRET",
        "x-amz-security-token=SECRET%2B/",
        "X-Goog-Signature=SECRET",
        "AWSAccessKeyId=SECRET",
        "Signature=SECRET%3D",
        "access_token=SECRET.x",
    ],
)
def test_signed_urls_lose_what_opens_them(secret: str) -> None:
    error = exceptions.EndpointConnectionError(
        endpoint_url=f"http://s3/bucket/key?{secret}&list-type=2"
    )
    assert "SECRET" not in told(error)
    assert "list-type=2" in told(error)


def test_words_are_few() -> None:
    assert len(told(RuntimeError("x" * 10_000))) <= 500


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (answer("ExpiredToken", 400), True),
        (PermissionError("The provided token has expired."), True),
        (answer("InvalidAccessKeyId", 403), True),
        (exceptions.NoCredentialsError(), True),
        (exceptions.TokenRetrievalError(provider="sso", error_msg="expired"), True),
        (OSError("Forbidden: b/bucket/o"), True),
        (answer("SlowDown", 503), False),
        (TimeoutError(), False),
    ],
)
def test_refusals_are_told_from_other_trouble(error: Exception, *, refusal: bool) -> None:
    assert is_refusal(error) is refusal


@pytest.mark.parametrize(
    ("error", "taken", "final"),
    [
        (FileExistsError(), True, False),
        (answer("PreconditionFailed", 412), True, True),
        (answer("ConditionalRequestConflict", 409), True, True),
        (answer("AccessDenied", 403), False, True),
        (PermissionError(13, "Access denied"), False, True),
        (answer("InternalError", 500), False, False),
        (exceptions.ReadTimeoutError(endpoint_url="http://s3"), False, False),
    ],
)
def test_what_a_put_ended_with_is_known(error: Exception, *, taken: bool, final: bool) -> None:
    assert (is_taken(error), is_final(error)) == (taken, final)
