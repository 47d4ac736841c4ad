"""Answers that are too large to send."""

from __future__ import annotations

from google.protobuf.message import Message

from service_kit import errors


def check_size(message: Message, most: int) -> None:
    """Checks one answer of a stream; gRPC would end the stream for it, and with it all others.

    Raises:
        AnswerTooLarge: it has more than `most` bytes.
    """
    size = message.ByteSize()
    if size > most:
        raise errors.AnswerTooLarge(
            f"the answer has {size} bytes, and a message at most {most}: ask for fewer images or "
            "outputs at a time, or have the operator raise --max-message-mb"
        )
