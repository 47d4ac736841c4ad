"""The inference service's rounds: store, models file, cards' health, readiness."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from inference_service.hot_load import HotLoader
from inference_service.model_rules import ModelRules
from inference_service.models_file_watch import ModelsFileWatch
from inference_service.registry import Registry

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Problems:
    """What keeps the server from being up to date; empty: nothing."""

    models_file: str
    store: str


class StoreWatch:
    """Looks again and again, and acts on what it sees."""

    def __init__(
        self,
        hot_loader: HotLoader,
        registry: Registry,
        rules: ModelRules,
        models_file: ModelsFileWatch | None,
        *,
        store_is_watched: bool,
        strict: bool,
    ) -> None:
        """Works with the given parts.

        Args:
            hot_loader: loads and unloads.
            registry: what is served.
            rules: take the models file's new content.
            models_file: None: there is none.
            store_is_watched: whether the store is looked at after the first time.
            strict: whether a version that fails to load keeps the server from being ready.
        """
        self._hot_loader = hot_loader
        self._registry = registry
        self._rules = rules
        self._models_file = models_file
        self._store_is_watched = store_is_watched
        self._strict = strict
        self._listed = False
        self._ready = False

    def problems(self) -> Problems:
        """Returns what is wrong now."""
        models_file = self._models_file.trouble if self._models_file else ""
        return Problems(models_file, self._hot_loader.store_problem)

    async def watch(self, seconds: float, when_ready: Callable[[], Awaitable[None]]) -> None:
        """Looks every so many seconds, for ever; calls `when_ready` once.

        Ready is when every model that the store had at first is served, or has failed for its
        own reasons.
        """
        while True:
            try:
                await self.look()
                if not self._ready and await self._became_ready():
                    self._ready = True
                    await when_ready()
            except Exception:
                # Whatever it is, what is served goes on being served.
                _log.exception("sync_failed")
            await asyncio.sleep(seconds)

    async def look(self) -> None:
        """Looks once."""
        # A large file takes seconds, in which others have to be answered.
        changed = await asyncio.to_thread(self._models_file.refresh) if self._models_file else None
        if changed is not None:
            self._rules.replace_file(changed)
            for servable in self._registry.servables():
                servable.limit(self._rules.limits(servable.model))
            _log.info("models_file_read")
        if self._store_is_watched or not self._listed:
            self._listed = await self._hot_loader.look() or self._listed
        await self._hot_loader.act()

    async def _became_ready(self) -> bool:
        if not self._listed:
            return False
        await self._hot_loader.settled()
        await self._hot_loader.settle()
        return not (self._strict and self._hot_loader.any_failure())
