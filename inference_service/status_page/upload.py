"""The form with an image, read piece by piece and never further than it may go."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, MultipartReader, StreamReader, web

from service_kit import errors

# Of a field that is no file.
_LONGEST_FIELD = 1_000
_MAX_FIELDS = 16
_PIECE = 2**16
# Of all that is not the image: boundaries, headers, fields.
_AROUND = 2**16
_MAX_LINES = 1_000


@dataclass(frozen=True, slots=True)
class Upload:
    """An image file's content, and the form's other fields by name."""

    image: bytes
    fields: dict[str, str] = field(default_factory=dict)


class _FewLines:
    """A body whose lines are counted: reading millions of empty ones would hold everybody up."""

    def __init__(self, content: StreamReader) -> None:
        self._content = content
        self._left = _MAX_LINES

    async def readline(self, **limits: int) -> bytes:
        """Returns the next line; what is not read by lines is not counted."""
        self._left -= 1
        if self._left < 0:
            raise errors.InvalidRequest("the form has too many lines around its fields")
        return await self._content.readline(**limits)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)


async def read_upload(request: web.Request, *, max_bytes: int, seconds: float) -> Upload:
    """Returns the form in a request's body.

    Args:
        request: its body is `multipart/form-data`, with the file in the field `image`.
        max_bytes: of the file.
        seconds: that the sender may take.

    Raises:
        InvalidRequest: it is no such form, has no image, or is too large.
        DeadlineExpired: the sender took longer.
    """
    length = request.content_length
    if length is not None and length > max_bytes + _AROUND:
        raise _too_large(max_bytes)
    try:
        return await asyncio.wait_for(_read(request, max_bytes), seconds)
    except (asyncio.TimeoutError, TimeoutError):
        raise errors.DeadlineExpired(
            f"the form was not complete after {seconds:g} s: send a smaller image"
        ) from None
    except (errors.PbserveError, ConnectionError):
        raise
    except Exception as error:
        # ValueError, AssertionError, BadHttpMessage, ...: aiohttp promises no set.
        raise errors.InvalidRequest(
            f"the form cannot be read: {str(error) or type(error).__name__}"
        ) from error


async def _read(request: web.Request, max_bytes: int) -> Upload:
    if request.content_type != "multipart/form-data":
        raise errors.InvalidRequest(
            f"the body is {request.content_type!r}: send multipart/form-data, with the file in the "
            "field image"
        )
    image: bytes | None = None
    fields: dict[str, str] = {}
    parts = MultipartReader(request.headers, _FewLines(request.content))  # type: ignore[arg-type]
    while (part := await parts.next()) is not None:
        if isinstance(part, MultipartReader) or not part.name or len(fields) >= _MAX_FIELDS:
            raise errors.InvalidRequest("the form has fields that it should not have")
        if part.name == "image":
            if image is not None:
                raise errors.InvalidRequest("the form has two images: send one at a time")
            image = await _content(part, max_bytes, _too_large(max_bytes))
        else:
            too_long = errors.InvalidRequest(f"the field {part.name!r} is too long")
            content = await _content(part, _LONGEST_FIELD, too_long)
            fields[part.name] = content.decode(errors="replace")
    if not image:
        raise errors.InvalidRequest("there is no image: choose a JPEG or PNG file")
    return Upload(image, fields)


async def _content(part: BodyPartReader, most: int, too_much: errors.PbserveError) -> bytes:
    content = bytearray()
    while not part.at_eof():
        content += await part.read_chunk(_PIECE)
        if len(content) > most:
            raise too_much
    return bytes(content)


def _too_large(max_bytes: int) -> errors.PbserveError:
    return errors.InvalidRequest(
        f"the image is larger than {max_bytes} bytes, the most that a message may have: send a "
        "smaller one"
    )
