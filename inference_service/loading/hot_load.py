"""Keeps what is served in step with the store and the rules: look, decide, load, flip, free."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import Any

import structlog

from inference_service.loading.background_work import BackgroundWork, TimeIsUp
from inference_service.loading.counts import HotLoadCounts
from inference_service.loading.loader import Loader
from inference_service.loading.malloc_trim import give_back
from inference_service.loading.policy import Load, Unload, plan
from inference_service.loading.rules import ModelRules
from inference_service.models.health import ModelHealth
from inference_service.models.load_record import LoadFailures
from inference_service.models.publication import Publication
from inference_service.models.registry import Loaded, Registry
from inference_service.models.servable import LoadedModel, Servable
from inference_service.models.status import State
from service_kit import errors
from service_kit.store.artifact_store import ArtifactStore

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
        load_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Works with the given parts.

        Args:
            store: has what is published.
            registry: has what is served.
            loader: brings one into the other.
            rules: say what is wanted.
            health: is told of changes.
            load_seconds: that a load may take before it has failed; None: any time.
            clock: paces the retries of failed loads, in seconds.
        """
        self._store = store
        self._registry = registry
        self._loader = loader
        self._rules = rules
        self._health = health
        self._clock = clock
        # One load at a time: two would fight for the cores that answer requests.
        self._loading: BackgroundWork[LoadedModel] = BackgroundWork(
            "load", seconds=load_seconds, discard=_close_engine
        )
        self._load_seconds = load_seconds
        self._looks = self._newest_look = 0
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failures = LoadFailures()
        self._errors: dict[Publication, errors.PbserveError] = {}
        # What the store had when it was last looked at.
        self._published: dict[str, Mapping[int, str]] = {}
        self._closing_down = False
        self.store_problem = ""
        self.counts = HotLoadCounts()

    @property
    def store(self) -> ArtifactStore:
        """Where the models come from."""
        return self._store

    @property
    def published(self) -> Mapping[str, Mapping[int, str]]:
        """Model -> version -> fingerprint of what the store had when it was looked at."""
        return self._published

    async def look(self, model: str | None = None) -> bool:
        """Looks at the store, for one model or all; False when it cannot be reached.

        A store that cannot be reached changes nothing.
        """
        self._looks += 1
        number = self._looks
        began = self._clock()
        try:
            published = await asyncio.to_thread(self._store.published)
        except errors.StoreUnavailable as error:
            self.counts.looked(self._clock() - began, reached=False)
            if str(error) != self.store_problem:
                _log.warning("store_unavailable", message=str(error))
            self.store_problem = str(error)
            return False
        self.counts.looked(self._clock() - began, reached=True)
        if self.store_problem:
            _log.info("store_available")
        self.store_problem = ""
        if number < self._newest_look:
            # A look that began later has ended before: it knows better.
            return True
        self._newest_look = number
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
                self._start(publication.model, self._load(publication, self._clock()))
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

    async def act_until(self, done: Callable[[], bool], models: Collection[str]) -> bool:
        """Acts and waits until `done`; False when nothing under way for the models leads there."""
        while not done():
            acted = await self.act()
            if not acted and not any(map(self.is_busy, models)):
                return done()
            for model in models:
                await self.settled(model)
        return True

    async def settled(self, model: str | None = None) -> None:
        """Returns when everything that was started, for one model or all, is done."""
        while tasks := [t for name, t in self._tasks.items() if model in (None, name)]:
            await asyncio.wait(tasks)

    def is_busy(self, model: str) -> bool:
        """Whether something that was started for a model is not done yet."""
        return model in self._tasks

    def served(self, model: str, version: int) -> bool:
        """Whether a version is served as the store has it."""
        fingerprint = self._registry.fingerprints().get(model, {}).get(version)
        published = self._published.get(model, {}).get(version)
        return fingerprint is not None and fingerprint == published

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

    async def _load(self, publication: Publication, wanted_at: float) -> None:
        model, version = publication.model, publication.version
        log = _log.bind(model=model, version=version)
        log.info("loading")
        try:
            loaded_model = await self._loading.run(partial(self._load_now, publication))
        except TimeIsUp:
            timed_out = errors.LoadTimedOut(
                f"loading took longer than {self._load_seconds:g} s, and goes on in vain: does the "
                "graph end? --load-timeout allows more"
            )
            self._fail(publication, timed_out)
            log.warning("load_failed", reason=timed_out.reason, message=str(timed_out))
        except errors.PbserveError as error:
            self._fail(publication, error)
            log.warning("load_failed", reason=error.reason, message=str(error))
        except Exception as error:
            # A defect's own words may be empty.
            self._fail(publication, errors.EngineFailed(str(error) or type(error).__name__))
            log.exception("load_failed")
        else:
            # On this thread, so that the cards' threads have its priority.
            try:
                servable = Servable(loaded_model, self._rules.limits(model))
            except Exception as error:
                # A thread that could not be started, for example.
                self._fail(publication, errors.EngineFailed(str(error) or type(error).__name__))
                log.exception("load_failed")
                await asyncio.to_thread(_close_engine, loaded_model)
                return
            displaced = self._registry.install(Loaded(servable, publication.fingerprint))
            self._errors.pop(publication, None)
            self.counts.loaded(model, loaded_model.seconds, self._clock() - wanted_at)
            self._rules.settle_labels(self._registry.fingerprints())
            log.info("available", seconds=round(loaded_model.seconds, 3))
            if displaced:
                await self._free(displaced)

    def _load_now(self, publication: Publication) -> LoadedModel:
        if self._closing_down:
            raise errors.ServerStopping("the server is going away")
        options = self._rules.load_options(publication.model)
        return self._loader.load(publication.model, publication.version, options)

    def _fail(self, publication: Publication, error: errors.PbserveError) -> None:
        now = self._clock()
        self.counts.failed(publication.model, error)
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
        # Not behind another: a card that hangs would keep everybody's memory.
        await BackgroundWork[None]("unload").run(partial(_close, loaded.servable))
        self._registry.freed(loaded)


def _close_engine(loaded_model: LoadedModel) -> None:
    loaded_model.engine.close()
    give_back()


def _close(servable: Servable) -> None:
    servable.close()
    give_back()
