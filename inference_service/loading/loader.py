"""From a published version to warmed cards."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from inference_service.cards.batch_limit import BatchTiming
from inference_service.cards.card_spec import CardSpec
from inference_service.engine import Engine, Engines
from inference_service.engine.devices import Placement, place_cards
from inference_service.loading.engine_choice import ArtifactToLoad, EngineChoice
from inference_service.loading.load_attempt import LoadAttempt
from inference_service.loading.load_journal import LoadJournal
from inference_service.loading.malloc_trim import give_back
from inference_service.loading.memory import SHARE, available_bytes, max_elements
from inference_service.loading.row_check import has_row_an_image
from inference_service.loading.rules import LoadOptions
from inference_service.loading.thread_priority import at_low_priority, taking_turns
from inference_service.loading.warming import warm
from inference_service.models.servable import LoadedModel
from service_kit import errors
from service_kit.artifacts.manifest import Manifest, Tower
from service_kit.frozen_graph.blank_run import blank
from service_kit.store.artifact_store import ArtifactStore


class Loader:
    """Reads, verifies, imports and warms artifacts. Blocks; runs beside the event loop."""

    def __init__(
        self,
        store: ArtifactStore,
        engines: Engines | EngineChoice,
        journal: LoadJournal | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
        thread_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """Loads from a store.

        Args:
            store: has the artifacts.
            engines: run them, or a choice of several.
            journal: knows what the process died of; None: nobody writes that down.
            clock: seconds; times the batches.
            thread_clock: seconds of the calling thread's processor time; times them where that is
                all they cost.
        """
        self.journal = journal or LoadJournal(None)
        self._store = store
        self._engines = engines if isinstance(engines, EngineChoice) else EngineChoice.only(engines)
        self._clock = clock
        self._thread_clock = thread_clock

    def load(
        self, model: str, version: int, options: LoadOptions, attempt: LoadAttempt | None = None
    ) -> LoadedModel:
        """Returns the version with every card warmed.

        Args:
            model: its name.
            version: of it.
            options: how it is loaded.
            attempt: through which somebody else can end the load; None: nobody does.

        Raises:
            Quarantined: the process has died of it too often.
            LoadTimedOut: the attempt was given up.
            ArtifactNotFound: it was deleted meanwhile.
            ArtifactCorrupt: manifest, size or digest are not those of the publication.
            EngineFailed: the graph cannot be imported or run.
            EngineUnfit: no engine that may run it answers as it should.
            StoreUnavailable: the store cannot be read.
            InvalidRequest: a device that the server was told to use is not there.
        """
        began = self._clock()
        attempt = attempt or LoadAttempt(f"{model}/{version}")
        with taking_turns():
            manifest = self._store.manifest(model, version)
            with self.journal.loading(model, version, manifest.graph.sha256):
                return self._load(manifest, options, attempt, began)

    def _load(
        self, manifest: Manifest, options: LoadOptions, attempt: LoadAttempt, began: float
    ) -> LoadedModel:
        placements = place_cards(
            len(manifest.towers), self._engines.devices(), replicate=options.replicate
        )
        # Size and digest are verified before the bytes are parsed.
        graph = self._store.graph(manifest)
        artifact = ArtifactToLoad(manifest, graph, placements, lambda: self._store.proof(manifest))
        engine, report = self._engines.load(artifact, options)
        attempt.take(engine)
        try:
            unchecked = report.parity is None
            whole = not has_row_an_image(manifest, graph, with_tensorflow=unchecked)
            del artifact
            del graph
            specs = at_low_priority(
                lambda: self._warmed(manifest, engine, placements, options, whole=whole)
            )
        except BaseException:
            if attempt.done():
                engine.close()
            give_back()
            raise
        give_back()
        if not attempt.done():
            raise errors.LoadTimedOut("nobody waits for it any more")
        return LoadedModel(manifest, engine, specs, self._clock() - began, report)

    def _warmed(
        self,
        manifest: Manifest,
        engine: Engine,
        placements: tuple[Placement, ...],
        options: LoadOptions,
        *,
        whole: bool,
    ) -> tuple[CardSpec, ...]:
        specs = []
        available = available_bytes()
        share = float("inf") if available is None else available * SHARE / len(placements)
        # What cards share is warmed and measured once.
        measured: dict[int, tuple[BatchTiming, ...]] = {}
        for placement in placements:
            tower = _tower_of_card(manifest, placement)
            run = partial(engine.run, placement.card)
            call = engine.prepare(placement.card)
            if call not in measured:
                measured[call] = warm(
                    run,
                    tower,
                    min(options.max_batch_size, manifest.max_batch or options.max_batch_size),
                    # What a batch costs, and not how long others have kept it waiting.
                    self._thread_clock if engine.computes_on_caller else self._clock,
                    whole=whole,
                    max_bytes=share,
                )
            largest = measured[call][-1]
            elements = sum(one.size for one in blank(tower, 1).values()) * largest.batch_size
            specs.append(
                CardSpec(
                    tower=tower,
                    placement=placement,
                    run=run,
                    blank=blank(tower, 1),
                    timings=measured[call],
                    max_batch=manifest.max_batch,
                    packs=not (manifest.batch_matters or whole),
                    whole=whole,
                    max_elements=max_elements(
                        largest.peak_bytes, elements, len(placements), available
                    )
                    if _takes_any_size(tower)
                    else 0,
                )
            )
        return tuple(specs)


def _takes_any_size(tower: Tower) -> bool:
    """Whether images of any size are taken, so that their number does not bound a batch."""
    return any(-1 in spec.shape[1:] for spec in tower.inputs)


def _tower_of_card(manifest: Manifest, placement: Placement) -> Tower:
    return replace(manifest.towers[placement.tower], index=placement.card)
