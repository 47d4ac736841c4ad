"""What a store's error means, in words that hold no secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UNAUTHORIZED, _FORBIDDEN = 401, 403
_CONFLICT, _PRECONDITION_FAILED = 409, 412
# Of signed URLs, S3's and Google's, which client libraries put into their errors.
_SECRETS = re.compile(
    r"(?i)((?:x-(?:amz|goog)-(?:signature|credential|security-token)|signature|awsaccesskeyid"
    r"|googleaccessid|upload_id|access_token|id_token|webidentitytoken)=)[^&\s\"'>]+"
)
# Names that botocore and google-auth have for credentials that are not there, or cannot be had.
_OF_CREDENTIALS = re.compile("Credential|Token|Refresh")
_LONGEST = 500


def told(error: BaseException) -> str:
    """Returns an error in words: the store's code and sentence where it has answered."""
    code, sentence, status = _answer(error)
    if code:
        # Ceph's gateway leaves the sentence out.
        words = f"{code}: {sentence}" if sentence and sentence != code else code
        if status:
            words += f" (HTTP {status})"
    else:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return _SECRETS.sub(r"\1...", words)[:_LONGEST]


def is_refusal(error: BaseException) -> bool:
    """Whether the store does not know us, or does not let us: other credentials may help."""
    code, _, status = _answer(error)
    return (
        isinstance(error, PermissionError)
        or status in {_UNAUTHORIZED, _FORBIDDEN}
        # These come with 400.
        or "Token" in code
        or str(error).startswith("Forbidden")
        or _OF_CREDENTIALS.search(type(error).__name__) is not None
    )


def is_taken(error: BaseException) -> bool:
    """Whether a conditional put found its key there, or somebody writing to it."""
    return isinstance(error, FileExistsError) or _answer(error)[2] in {
        _CONFLICT,
        _PRECONDITION_FAILED,
    }


def is_final(error: BaseException) -> bool:
    """Whether the store has said that it did not do what it was asked."""
    return isinstance(error, PermissionError) or 400 <= _answer(error)[2] < 500


def _answer(error: BaseException) -> tuple[str, str, int]:
    """Returns code, sentence and HTTP status of an S3 store's answer; empty without one."""
    for one in (error, error.__cause__):
        response: Any = getattr(one, "response", None)
        if isinstance(response, Mapping) and isinstance(response.get("Error"), Mapping):
            said = response["Error"]
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return str(said.get("Code") or ""), str(said.get("Message") or ""), int(status)
    # Google's has the status alone.
    status = getattr(error, "code", 0)
    return "", "", status if isinstance(status, int) else 0
