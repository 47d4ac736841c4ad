"""Keeps what is served in step with the store and the rules: look, decide, load, flip, free."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import Any

import structlog

from inference_service.engine import Engine
from inference_service.loading.background_work import BackgroundWork, TimeIsUp
from inference_service.loading.counts import HotLoadCounts
from inference_service.loading.load_attempt import LoadAttempt
from inference_service.loading.loader import Loader
from inference_service.loading.malloc_trim import give_back
from inference_service.loading.policy import Load, Unload, plan
from inference_service.loading.rules import ModelRules
from inference_service.loading.store_view import StoreView
from inference_service.models.health import ModelHealth
from inference_service.models.publication import Publication
from inference_service.models.registry import Loaded, Registry
from inference_service.models.servable import LoadedModel, Servable
from service_kit import errors

_log = structlog.get_logger(__name__)
# After these another model's load begins beside one that is not done.
_PATIENCE_SECONDS = 10.0
# Threads of loads that nobody waits for any more, and that cannot be ended.
_MAX_UNFINISHED = 16
# What loads that are given up at the end of the process may take to free what they have.
_LAST_SECONDS = 2.0


class HotLoader:
    """Serves one store through one registry, as the rules want it."""

    def __init__(
        self,
        view: StoreView,
        registry: Registry,
        loader: Loader,
        rules: ModelRules,
        health: ModelHealth,
        counts: HotLoadCounts,
        *,
        load_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Works with the given parts.

        Args:
            view: what is known of the store.
            registry: has what is served, and how loads stand.
            loader: brings one into the other.
            rules: say what is wanted.
            health: is told of changes.
            counts: of loads, and their seconds.
            load_seconds: that a load may take before it has failed; None: any time.
            clock: times the swaps, in seconds.
        """
        self._view = view
        self._registry = registry
        self._loader = loader
        self._rules = rules
        self._health = health
        self._counts = counts
        self._clock = clock
        # One load at a time: two would fight for the cores that answer requests. Only behind one
        # that may hang nobody waits for its end.
        self._loading: BackgroundWork[LoadedModel] = BackgroundWork(
            "load",
            seconds=load_seconds,
            patience=_PATIENCE_SECONDS,
            discard=lambda late: _close(late.engine),
        )
        self._load_seconds = load_seconds
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing_down = False

    async def act(self) -> int:
        """Starts what has to be done, and returns how much that is."""
        published, loads = self._view.published, self._registry.loads
        loads.keep(published)
        served = self._registry.fingerprints()
        self._rules.settle_labels(served)
        actions = plan(
            published,
            served,
            loads.waiting(),
            self._tasks.keys(),
            {model: self._rules.rule(model) for model in {*published, *served}},
        )
        # What a server died of may take this one with it: the others are served by then.
        for action in sorted(actions, key=self._is_dangerous):
            if isinstance(action, Load):
                # From now on, so that who asks while it waits for its turn is told to come back.
                loads.begin(action.publication)
                self._start(action.publication.model, self._load(action.publication, self._clock()))
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
            if not acted and not any(model in self._tasks for model in models):
                return done()
            for model in models:
                await self.settled(model)
        return True

    async def settled(self, model: str | None = None) -> None:
        """Returns when everything that was started, for one model or all, is done."""
        while tasks := [t for name, t in self._tasks.items() if model in (None, name)]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Frees every version; no request may be in flight any more."""
        self.stop_loading()
        await self.settled()
        for model, versions in self._registry.fingerprints().items():
            for version in versions:
                await self._unload(Unload(model, version))

    async def try_again(self, model: str) -> None:
        """Lets a model be loaded that failed, whatever it failed of: it is asked for."""
        self._registry.loads.allow_retry(model)
        await asyncio.to_thread(self._loader.journal.try_again, model)

    def stop_loading(self) -> None:
        """Gives up the loads that run, and begins no others."""
        self._closing_down = True
        self._loading.give_up()

    async def loads_have_ended(self) -> bool:
        """Waits a little for the threads of loads that were given up; False: some still run."""
        return await asyncio.to_thread(self._loading.join, _LAST_SECONDS)

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
        log = _log.bind(model=publication.model, version=publication.version)
        log.info("loading")
        try:
            servable = await self._servable(publication)
        except errors.PbserveError as error:
            self._fail(publication, error)
            log.warning("load_failed", reason=error.reason, message=str(error))
        except Exception as error:
            # A defect's own words may be empty.
            self._fail(publication, errors.EngineFailed(str(error) or type(error).__name__))
            log.exception("load_failed")
        else:
            displaced = self._registry.install(Loaded(servable, publication.fingerprint))
            swap_seconds = self._clock() - wanted_at
            self._counts.loaded(publication.model, servable.load_seconds, swap_seconds)
            self._rules.settle_labels(self._registry.fingerprints())
            log.info("available", seconds=round(servable.load_seconds, 3))
            if displaced:
                await self._free(displaced)

    async def _servable(self, publication: Publication) -> Servable:
        attempt = LoadAttempt(f"{publication.model}/{publication.version}")
        try:
            loaded_model = await self._loading.run(
                partial(self._load_now, publication, attempt), alone=self._is_suspect(publication)
            )
        except TimeIsUp:
            attempt.give_up()
            self._check_open()
            raise errors.LoadTimedOut(
                f"let it have more time with --load-timeout, if its graph ends at all: loading "
                f"took longer than {self._load_seconds:g} s, and was given up"
            ) from None
        try:
            # On this thread, so that the cards' threads have its priority.
            return Servable(loaded_model, self._rules.limits(publication.model))
        except Exception:
            # A thread that could not be started, for example.
            await asyncio.to_thread(_close, loaded_model.engine)
            raise

    def _load_now(self, publication: Publication, attempt: LoadAttempt) -> LoadedModel:
        self._check_open()
        options = self._rules.load_options(publication.model)
        return self._loader.load(publication.model, publication.version, options, attempt)

    def _is_dangerous(self, action: Load | Unload) -> bool:
        return isinstance(action, Load) and self._is_suspect(action.publication)

    def _is_suspect(self, publication: Publication) -> bool:
        return self._loader.journal.is_suspect(publication.model, publication.version)

    def _check_open(self) -> None:
        if self._closing_down:
            raise errors.ServerStopping("the server is going away")
        if self._loading.unfinished > _MAX_UNFINISHED:
            raise errors.LoadTimedOut(
                f"start the server anew: {_MAX_UNFINISHED} loads that took too long still run"
            )

    def _fail(self, publication: Publication, error: errors.PbserveError) -> None:
        self._counts.failed(publication.model, error)
        self._registry.loads.fail(publication, error)

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


def _close(closed: Engine | Servable) -> None:
    closed.close()
    give_back()
