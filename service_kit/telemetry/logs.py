"""Structured logs on standard error, for people (console) or programs (JSON)."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any, Literal, TextIO

from service_kit.telemetry.current_call import add_call
from service_kit.terminal_text import printable

LogFormat = Literal["console", "json"]


def _show_traceback(stream: TextIO, exception: Any) -> None:
    import structlog

    text = io.StringIO()
    structlog.dev.plain_traceback(text, exception)
    stream.write("\n".join(map(printable, text.getvalue().split("\n"))))


def configure_logs(log_format: LogFormat = "console", level: int = logging.INFO) -> None:
    """Sets up structlog for this process. Standard output stays free for results."""
    # Command lines name the formats without it: it takes 0.1 s.
    import structlog

    def show_only(_: object, __: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
        return {
            key: printable(value) if isinstance(value, str) else value
            for key, value in line.items()
        }

    renderer: structlog.types.Processor
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # Without local variables: they may be large, and they may be somebody's data.
            exception_formatter=_show_traceback,
        )
    preparing: list[structlog.types.Processor] = (
        [
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            )
        ]
        if log_format == "json"
        # What callers sent is among the values.
        else [show_only]
    )
    structlog.configure(
        processors=[
            add_call,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *preparing,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
