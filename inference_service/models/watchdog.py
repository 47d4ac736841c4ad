"""Notices engines that do not come back, which their own threads cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from inference_service.models.health import ModelHealth
from inference_service.models.registry import Registry

_log = structlog.get_logger(__name__)
# Against the 30 s at least that a run may take, a second more is nothing.
_SECONDS = 1.0


async def watch_runs(
    registry: Registry,
    health: ModelHealth,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Looks at the run of every card once a second, for ever; see `Card.check_run`.

    Args:
        registry: has the cards.
        health: is told of those that are out of order.
        sleep: waits so many seconds.
    """
    while True:
        await sleep(_SECONDS)
        try:
            for servable in registry.loaded():
                servable.check_runs()
            await health.tell(registry)
        except Exception:
            # Whatever it is, the others want to be looked at, too.
            _log.exception("run_watch_failed")
