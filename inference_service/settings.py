"""What the inference service can be told, once, when it starts."""

from __future__ import annotations

from dataclasses import dataclass

from service_kit.address import Address
from service_kit.logs import LogFormat


@dataclass(frozen=True, slots=True)
class InferenceSettings:
    """Settings of one inference process."""

    listen: Address
    store: str
    # Seconds between two looks at the store.
    poll_seconds: float = 1.0
    # Images in one batch. On CPUs larger batches are slower: 16 and 32 ran at 0.6 of 1 to 8.
    max_batch_size: int = 8
    # Images that may wait or run on one card.
    queue_images: int = 1024
    # Requests in flight in one stream before reading from it pauses.
    stream_window: int = 64
    lame_duck_seconds: float = 0.0
    grace_seconds: float = 10.0
    log_format: LogFormat = "console"
    max_message_bytes: int = 64 * 2**20
