"""What tf2onnx logs: kept off the service's log, and read for what it did not convert."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

_CONVERTER = "tf2onnx"
# Where ops are converted. Errors of the rest (a rewrite that was tried and given up) may come
# to a good end; if they do not, ops are left that ONNX does not know.
_CONVERSION = "tf2onnx.tfonnx"


@contextlib.contextmanager
def failures_logged() -> Iterator[list[str]]:
    """Yields what tf2onnx says in the block that it failed to convert; prints none of it.

    Where it cannot convert an op it logs an error, leaves the op as it is and goes on.
    """
    collector = _Failures(logging.ERROR)
    converter, tensorflow = logging.getLogger(_CONVERTER), logging.getLogger("tensorflow")
    propagate, level = converter.propagate, tensorflow.level
    converter.addHandler(collector)
    converter.propagate = False
    # It calls what TensorFlow 2 calls deprecated.
    tensorflow.setLevel(logging.ERROR)
    try:
        yield collector.messages
    finally:
        tensorflow.setLevel(level)
        converter.propagate = propagate
        converter.removeHandler(collector)


class _Failures(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == _CONVERSION:
            # Behind the node's name stands a function of the converter's.
            failure = record.getMessage().partition("\n")[0].partition(" (fct=")[0]
            raised = record.exc_info[1] if record.exc_info else None
            self.messages.append(f"{failure}: {raised}" if raised else failure)
