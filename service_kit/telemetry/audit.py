"""Lines of the log that say who changed what, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import structlog

from service_kit import errors

_log = structlog.get_logger(__name__)


@contextlib.contextmanager
def audited(action: str, **what: object) -> Iterator[None]:
    """Logs an action at its end; the call's own context adds who asked for it.

    Args:
        action: `load`, `convert`, ...
        what: model, version and the like; what is None or empty is left out.
    """
    log = _log.bind(action=action, **{name: value for name, value in what.items() if value})
    try:
        yield
    except errors.PbserveError as error:
        log.warning("audit", result=error.reason)
        raise
    except (asyncio.CancelledError, GeneratorExit):
        log.warning("audit", result="CANCELLED")
        raise
    except BaseException:
        log.warning("audit", result="INTERNAL_ERROR")
        raise
    log.info("audit", result="OK")
