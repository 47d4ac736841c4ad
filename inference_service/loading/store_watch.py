"""The inference service's rounds: store, models file, cards' health, readiness."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from inference_service.loading.hot_load import HotLoader
from inference_service.loading.models_file import ModelsFile
from inference_service.loading.rules import ModelRules
from inference_service.loading.store_pace import StorePace
from inference_service.loading.store_view import StoreView
from inference_service.models.registry import Registry
from service_kit.files.watched_file import WatchedFile

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Problems:
    """What keeps the server from being up to date; empty: nothing.

    `store_mark` says that the store's folder has no mark: it may be an empty mount point.
    """

    models_file: str
    store: str
    store_mark: str = ""


class StoreWatch:
    """Looks again and again, and acts on what it sees."""

    def __init__(
        self,
        view: StoreView,
        hot_loader: HotLoader,
        registry: Registry,
        rules: ModelRules,
        models_file: WatchedFile[ModelsFile] | None,
        *,
        store_is_watched: bool,
        strict: bool,
        pace: StorePace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Works with the given parts.

        Args:
            view: looks at the store.
            hot_loader: loads and unloads.
            registry: what is served, and how loads stand.
            rules: take the models file's new content.
            models_file: None: there is none.
            store_is_watched: whether the store is looked at after the first time.
            strict: whether a version that fails to load keeps the server from being ready.
            pace: of looks at the store; None: one with chance in it.
            clock: for the pace, in seconds.
        """
        self._view = view
        self._hot_loader = hot_loader
        self._registry = registry
        self._rules = rules
        self._models_file = models_file
        self._store_is_watched = store_is_watched
        self._strict = strict
        self._pace = pace or StorePace(random.random)
        self._clock = clock
        self._seconds = 1.0
        self._listed = registry.store_is_read = False
        self._ready = False
        # Under way while not everything that was seen first is served, or has failed.
        self._settling: asyncio.Task[None] | None = None

    def problems(self) -> Problems:
        """Returns what is wrong now."""
        models_file = self._models_file.trouble if self._models_file else ""
        return Problems(models_file, self._view.problem, self._view.mark_problem)

    async def watch(self, seconds: float, when_ready: Callable[[], Awaitable[None]]) -> None:
        """Looks every so many seconds, for ever; calls `when_ready` once.

        At a store that cannot be reached it looks later and later (see `StorePace`).

        Ready is when every model that the store had at first is served, or has failed for its
        own reasons.
        """
        self._seconds = seconds
        try:
            while True:
                await self._round(when_ready)
                await asyncio.sleep(self._pace.pause(seconds))
        finally:
            if self._settling:
                self._settling.cancel()

    async def _round(self, when_ready: Callable[[], Awaitable[None]]) -> None:
        try:
            await self.look()
            if not self._ready and await self._became_ready():
                self._ready = True
                await when_ready()
        except Exception:
            # Whatever it is, what is served goes on being served.
            _log.exception("sync_failed")

    async def _settle(self) -> None:
        await self._hot_loader.settled()
        await self._hot_loader.settle()

    async def look(self) -> None:
        """Looks once."""
        # A large file takes seconds, in which others have to be answered.
        changed = await asyncio.to_thread(self._models_file.refresh) if self._models_file else None
        if changed is not None:
            self._rules.replace_file(changed)
            for servable in self._registry.servables():
                servable.limit(self._rules.limits(servable.model))
        if self._store_is_watched or not self._listed:
            await self._look_at_store()
        await self._hot_loader.act()

    async def _look_at_store(self) -> None:
        if not self._pace.is_due(self._clock()):
            return
        ok = await self._view.look()
        self._pace.looked(ok=ok, seconds=self._seconds, now=self._clock())
        self._listed |= ok
        self._registry.store_is_read |= ok

    async def _became_ready(self) -> bool:
        """Looks whether everything is decided; waits until the next look at most."""
        if not self._listed:
            return False
        settling = self._settling = self._settling or asyncio.create_task(self._settle())
        await asyncio.wait([settling], timeout=self._seconds)
        if not settling.done():
            return False
        self._settling = None
        settling.result()
        failures = map(self._registry.loads.failure, self._view.publications())
        return not (self._strict and any(failures))
