"""Keeps what is served in step with the store: look, decide, load, flip, free."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import structlog

from inference_service.loader import Loader
from inference_service.policy import Load, Publication, Unload, plan
from inference_service.registry import Loaded, Registry, State
from inference_service.servable import Servable
from service_kit import errors
from service_kit.artifact_store import ArtifactStore
from service_kit.server import Health

_log = structlog.get_logger(__name__)


class _Pace(NamedTuple):
    """Seconds before the first retry, doubled each time up to the last."""

    first: float
    last: float


_RETRY_STORE = _Pace(1, 60)
# A graph that does not load costs seconds of computing each time, but memory may come back.
_RETRY_ENGINE = _Pace(30, 900)


class HotLoader:
    """Watches one store for one registry."""

    def __init__(
        self,
        store: ArtifactStore,
        registry: Registry,
        loader: Loader,
        health: Health,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Works with the given parts; `clock` (seconds) paces the retries of failed loads."""
        self._store = store
        self._registry = registry
        self._loader = loader
        self._health = health
        self._clock = clock
        # One load at a time: two would fight for the cores that answer requests.
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._closing = ThreadPoolExecutor(1, thread_name_prefix="unload")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # Publication -> time of the next try; infinite for what will not change by itself.
        self._retry_at: dict[Publication, float] = {}
        self._failures: dict[Publication, int] = {}
        self._known: set[str] = set()
        self._store_trouble = ""
        self._closing_down = False

    async def watch(self, poll_seconds: float) -> None:
        """Synchronises for ever."""
        while True:
            try:
                await self.sync()
            except Exception:
                # Whatever it is, what is served goes on being served.
                _log.exception("sync_failed")
            await asyncio.sleep(poll_seconds)

    async def catch_up(self) -> None:
        """Synchronises until nothing is left to do.

        Then every model that the store has is served, in the newest version that loads, or no
        version of it loads.
        """
        while await self.sync():
            await self.settled()

    async def sync(self) -> int:
        """Looks at the store once, starts what has to be done, and returns how much that is.

        A store that cannot be reached changes nothing.
        """
        try:
            published = await asyncio.to_thread(self._store.published)
        except errors.StoreUnavailable as error:
            if str(error) != self._store_trouble:
                _log.warning("store_unavailable", message=str(error))
            self._store_trouble = str(error)
            return 0
        self._store_trouble = ""
        self._registry.keep_notes(published)
        current = {
            Publication(model, version, print_)
            for model, versions in published.items()
            for version, print_ in versions.items()
        }
        self._retry_at = {p: at for p, at in self._retry_at.items() if p in current}
        self._failures = {p: n for p, n in self._failures.items() if p in current}
        now = self._clock()
        failed = {p for p, at in self._retry_at.items() if at > now}
        served = self._registry.fingerprints()
        actions = plan(published, served, failed, self._tasks.keys())
        for action in actions:
            if isinstance(action, Load):
                self._start(action.publication.model, self._load(action.publication))
            else:
                self._start(action.model, self._unload(action))
        await self._tell_health()
        return len(actions)

    async def settled(self) -> None:
        """Returns when everything that was started is done."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def close(self) -> None:
        """Frees every version; no request may be in flight any more.

        Waits for a load that runs, and skips those that have not begun.
        """
        self._closing_down = True
        await self.settled()
        for model, versions in self._registry.fingerprints().items():
            for version in versions:
                await self._unload(Unload(model, version))
        self._loading.shutdown()
        self._closing.shutdown()

    def _start(self, model: str, work: Coroutine[Any, Any, None]) -> None:
        previous = self._tasks.get(model)

        async def in_turn() -> None:
            if previous:
                await asyncio.wait([previous])
            try:
                await work
            finally:
                if self._tasks.get(model) is asyncio.current_task():
                    del self._tasks[model]
                await self._tell_health()

        self._tasks[model] = asyncio.create_task(in_turn())

    async def _load(self, publication: Publication) -> None:
        model, version = publication.model, publication.version
        self._registry.note(model, version, State.LOADING)
        log = _log.bind(model=model, version=version)
        log.info("loading")
        began = self._clock()
        loop = asyncio.get_running_loop()
        try:
            servable = await loop.run_in_executor(self._loading, self._load_now, publication)
        except errors.PbserveError as error:
            self._fail(publication, error, _retry_pace(error))
            log.warning("load_failed", reason=error.reason, message=str(error))
        except Exception as error:
            self._fail(publication, error, _RETRY_ENGINE)
            log.exception("load_failed")
        else:
            displaced = self._registry.install(Loaded(servable, publication.fingerprint))
            log.info("available", seconds=round(self._clock() - began, 3))
            if displaced:
                await self._free(displaced)

    def _load_now(self, publication: Publication) -> Servable:
        if self._closing_down:
            raise errors.ServerStopping("the server is going away")
        return self._loader.load(publication.model, publication.version)

    def _fail(self, publication: Publication, error: Exception, pace: _Pace | None) -> None:
        failures = self._failures[publication] = self._failures.get(publication, 0) + 1
        self._retry_at[publication] = (
            self._clock() + min(pace.first * 2 ** (failures - 1), pace.last)
            if pace
            else float("inf")
        )
        # A defect's own words may be empty.
        reason = str(error) or type(error).__name__
        self._registry.note(publication.model, publication.version, State.FAILED, reason)

    async def _unload(self, action: Unload) -> None:
        withdrawn = self._registry.withdraw(action.model, action.version)
        if withdrawn:
            await self._free(withdrawn)
            _log.info("unloaded", model=action.model, version=action.version)

    async def _free(self, loaded: Loaded) -> None:
        await loaded.unleased()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._closing, loaded.servable.close)
        self._registry.freed(loaded)

    async def _tell_health(self) -> None:
        known = {status.name for status in self._registry.statuses()}
        for model in self._known - known:
            await self._health.forget(model)
        for model in known:
            await self._health.set(model, serving=self._registry.is_served(model))
        self._known = known


def _retry_pace(error: errors.PbserveError) -> _Pace | None:
    """Returns how to retry a load; None: not until the publication changes."""
    if isinstance(error, errors.StoreUnavailable):
        return _RETRY_STORE
    if isinstance(error, errors.EngineFailed):
        return _RETRY_ENGINE
    return None
