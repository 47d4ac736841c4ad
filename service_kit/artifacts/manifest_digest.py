"""The digest of a manifest, in a file beside it.

The manifest has the digests of all other files, so that this one stands for the whole artifact:
whoever signs it, or the manifest, has signed everything. Its form is that of `sha256sum`.
"""

from __future__ import annotations

import hashlib

from service_kit import errors
from service_kit.artifacts.manifest import DIGEST_NAME, MANIFEST_NAME


def digest_file(text: bytes) -> bytes:
    """Returns the content of the file for a manifest's text."""
    return f"{hashlib.sha256(text).hexdigest()}  {MANIFEST_NAME}\n".encode()


def check_digest(text: bytes, expected: bytes, origin: str) -> None:
    """Compares a manifest's text with the content of its digest's file.

    Raises:
        ArtifactCorrupt: they do not belong together; `origin` names the manifest's place.
    """
    actual = digest_file(text)
    if expected.strip() != actual.strip():
        said = expected[:64].decode("ascii", "replace")
        raise errors.ArtifactCorrupt(
            f"publish it again: {origin} is not the one that was published; its SHA-256 is "
            f"{actual[:64].decode()}, and {DIGEST_NAME} says {said!r}"
        )
