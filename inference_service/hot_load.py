"""Keeps what is served in step with the store and the rules: look, decide, load, flip, free."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from inference_service.heap import give_back
from inference_service.load_failures import LoadFailures
from inference_service.loader import Loader
from inference_service.model_health import ModelHealth
from inference_service.model_rules import ModelRules
from inference_service.policy import Load, Publication, Unload, plan
from inference_service.registry import Loaded, Registry, State
from inference_service.servable import Lanes, Servable
from service_kit import errors
from service_kit.artifact_store import ArtifactStore

_log = structlog.get_logger(__name__)


class HotLoader:
    """Serves one store through one registry, as the rules want it."""

    def __init__(
        self,
        store: ArtifactStore,
        registry: Registry,
        loader: Loader,
        rules: ModelRules,
        health: ModelHealth,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Works with the given parts; `clock` (seconds) paces the retries of failed loads."""
        self._store = store
        self._registry = registry
        self._loader = loader
        self._rules = rules
        self._health = health
        self._clock = clock
        # One load at a time: two would fight for the cores that answer requests.
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._closing = ThreadPoolExecutor(1, thread_name_prefix="unload")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failures = LoadFailures()
        self._errors: dict[Publication, errors.PbserveError] = {}
        # What the store had when it was last looked at.
        self._published: dict[str, Mapping[int, str]] = {}
        self._closing_down = False
        self.store_problem = ""

    @property
    def published(self) -> Mapping[str, Mapping[int, str]]:
        """Model -> version -> fingerprint of what the store had when it was looked at."""
        return self._published

    async def look(self, model: str | None = None) -> bool:
        """Looks at the store, for one model or all; False when it cannot be reached.

        A store that cannot be reached changes nothing.
        """
        try:
            published = await asyncio.to_thread(self._store.published)
        except errors.StoreUnavailable as error:
            if str(error) != self.store_problem:
                _log.warning("store_unavailable", message=str(error))
            self.store_problem = str(error)
            return False
        self.store_problem = ""
        if model is None:
            self._published = dict(published)
        elif model in published:
            self._published[model] = published[model]
        else:
            self._published.pop(model, None)
        return True

    async def sync(self) -> int:
        """Looks at the store once, starts what has to be done, and returns how much that is."""
        return await self.act() if await self.look() else 0

    async def act(self) -> int:
        """Starts what has to be done, and returns how much that is."""
        self._registry.keep_notes(self._published)
        current = {
            Publication(model, version, print_)
            for model, versions in self._published.items()
            for version, print_ in versions.items()
        }
        self._failures.keep(current)
        self._errors = {p: error for p, error in self._errors.items() if p in current}
        served = self._registry.fingerprints()
        self._rules.settle_labels(served)
        actions = plan(
            self._published,
            served,
            self._failures.waiting(self._clock()),
            self._tasks.keys(),
            {model: self._rules.rule(model) for model in {*self._published, *served}},
        )
        for action in actions:
            if isinstance(action, Load):
                # From now on, so that who asks while it waits for its turn is told to come back.
                publication = action.publication
                self._registry.note(publication.model, publication.version, State.LOADING)
                self._start(action.publication.model, self._load(action.publication))
            else:
                self._start(action.model, self._unload(action))
        await self._health.tell(self._registry)
        return len(actions)

    async def settle(self) -> None:
        """Acts until nothing is left to do.

        Then every model that the store has is served in the versions that are wanted, or the
        next that load, or no version of it loads.
        """
        while await self.act():
            await self.settled()

    async def settled(self, model: str | None = None) -> None:
        """Returns when everything that was started, for one model or all, is done."""
        while tasks := [t for name, t in self._tasks.items() if model in (None, name)]:
            await asyncio.wait(tasks)

    def served(self, model: str, version: int) -> bool:
        """Whether a version is served as the store has it."""
        fingerprint = self._registry.fingerprints().get(model, {}).get(version)
        return fingerprint is not None and fingerprint == self._published[model].get(version)

    def failure(self, model: str, version: int) -> errors.PbserveError | None:
        """Returns why the load of what the store has failed; None: it did not."""
        fingerprint = self._published.get(model, {}).get(version, "")
        return self._errors.get(Publication(model, version, fingerprint))

    def any_failure(self) -> bool:
        """Whether the load of something that the store has failed."""
        return bool(self._errors)

    def forget_failures(self, model: str) -> None:
        """Lets everything be tried again that failed."""
        self._failures.forget(model)
        self._errors = {p: error for p, error in self._errors.items() if p.model != model}

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
                await self._health.tell(self._registry)

        self._tasks[model] = asyncio.create_task(in_turn())

    async def _load(self, publication: Publication) -> None:
        model, version = publication.model, publication.version
        log = _log.bind(model=model, version=version)
        log.info("loading")
        loop = asyncio.get_running_loop()
        try:
            lanes = await loop.run_in_executor(self._loading, self._load_now, publication)
        except errors.PbserveError as error:
            self._fail(publication, error)
            log.warning("load_failed", reason=error.reason, message=str(error))
        except Exception as error:
            # A defect's own words may be empty.
            self._fail(publication, errors.EngineFailed(str(error) or type(error).__name__))
            log.exception("load_failed")
        else:
            # On this thread, so that the cards' threads have its priority.
            servable = Servable(lanes, self._rules.limits(model))
            displaced = self._registry.install(Loaded(servable, publication.fingerprint))
            self._errors.pop(publication, None)
            self._rules.settle_labels(self._registry.fingerprints())
            log.info("available", seconds=round(lanes.seconds, 3))
            if displaced:
                await self._free(displaced)

    def _load_now(self, publication: Publication) -> Lanes:
        if self._closing_down:
            raise errors.ServerStopping("the server is going away")
        options = self._rules.load_options(publication.model)
        return self._loader.load(publication.model, publication.version, options)

    def _fail(self, publication: Publication, error: errors.PbserveError) -> None:
        now = self._clock()
        pause = self._failures.record(publication, error, now)
        # Without its traceback, whose frames would keep what the load had in memory.
        self._errors[publication] = type(error)(error.message, retry_after=error.retry_after)
        self._registry.note(
            publication.model,
            publication.version,
            State.FAILED,
            str(error),
            None if pause is None else now + pause,
        )

    async def _unload(self, action: Unload) -> None:
        withdrawn = self._registry.withdraw(action.model, action.version)
        if withdrawn:
            await self._free(withdrawn)
            _log.info("unloaded", model=action.model, version=action.version)

    async def _free(self, loaded: Loaded) -> None:
        await loaded.unleased()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._closing, _close, loaded.servable)
        self._registry.freed(loaded)


def _close(servable: Servable) -> None:
    servable.close()
    give_back()
