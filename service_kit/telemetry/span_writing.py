"""What holds wherever spans are written: nothing depends on them, and they are not large."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_log = logging.getLogger(__name__)
# Of an error's words. Callers may have sent a megabyte of them, and thousands of spans wait in
# memory for a collector that takes 4 MB at a time.
LONGEST_WORDS = 2000


@contextlib.contextmanager
def harmless() -> Iterator[None]:
    """Ends what goes wrong inside: samplers and propagators may be anybody's."""
    try:
        yield
    except Exception as error:
        # Not with its trace: it may happen with every request.
        _log.warning("a span is lost: %s: %s", type(error).__name__, str(error)[:LONGEST_WORDS])


def fail(span: Span, reason: str, words: str = "") -> None:
    """Marks a span as failed, for a reason that programs know, in words that are cut."""
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", reason)
    span.set_status(StatusCode.ERROR, words[:LONGEST_WORDS] or None)


def nanoseconds(seconds: float) -> int:
    """Returns a time in the unit of spans."""
    return int(seconds * 10**9)
