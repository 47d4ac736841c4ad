"""From a published version to warmed cards."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from inference_service.cards.batch_limit import BatchTiming
from inference_service.cards.card_spec import CardSpec
from inference_service.engine import Engine, EngineCard, Engines
from inference_service.engine.devices import Placement, place_cards
from inference_service.loading.malloc_trim import give_back
from inference_service.loading.row_check import has_row_an_image
from inference_service.loading.rules import LoadOptions
from inference_service.loading.thread_priority import at_low_priority, taking_turns
from inference_service.loading.warming import warm
from inference_service.models.servable import LoadedModel
from service_kit.artifacts.manifest import Manifest, Tower
from service_kit.frozen_graph.blank_run import blank, fixed_batch
from service_kit.store.artifact_store import ArtifactStore


class Loader:
    """Reads, verifies, imports and warms artifacts. Blocks; runs beside the event loop."""

    def __init__(
        self,
        store: ArtifactStore,
        engines: Engines,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Loads from `store` into `engines`; `clock` (seconds) times the batches."""
        self._store = store
        self._engines = engines
        self._clock = clock

    def load(self, model: str, version: int, options: LoadOptions) -> LoadedModel:
        """Returns the version with every card warmed.

        Raises:
            ArtifactNotFound: it was deleted meanwhile.
            ArtifactCorrupt: manifest, size or digest are not those of the publication.
            EngineFailed: the graph cannot be imported or run.
            StoreUnavailable: the store cannot be read.
            InvalidRequest: a device that the server was told to use is not there.
        """
        with taking_turns():
            return self._load(model, version, options)

    def _load(self, model: str, version: int, options: LoadOptions) -> LoadedModel:
        began = self._clock()
        manifest = self._store.manifest(model, version)
        placements = place_cards(
            len(manifest.towers), self._engines.devices(), replicate=options.replicate
        )
        # Size and digest are verified before the bytes are parsed.
        graph = self._store.graph(manifest)
        engine = self._engines.load(
            graph, [EngineCard(manifest.towers[p.tower], p.device) for p in placements]
        )
        try:
            whole = not has_row_an_image(manifest, graph)
            del graph
            specs = at_low_priority(
                lambda: self._warmed(manifest, engine, placements, options, whole=whole)
            )
        except BaseException:
            engine.close()
            give_back()
            raise
        give_back()
        return LoadedModel(manifest, engine, specs, self._clock() - began)

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
        # What cards share is warmed and measured once.
        measured: dict[int, tuple[BatchTiming, ...]] = {}
        for placement in placements:
            tower = _tower_of_card(manifest, placement)
            run = partial(engine.run, placement.card)
            call = engine.prepare(placement.card)
            if call not in measured:
                measured[call] = warm(run, tower, options.max_batch_size, self._clock, whole=whole)
            fixed = fixed_batch(tower)
            specs.append(
                CardSpec(
                    tower=tower,
                    placement=placement,
                    run=run,
                    blank=blank(tower, fixed or 1),
                    timings=measured[call],
                    fixed_batch=fixed,
                    packs=not (manifest.batch_matters or whole),
                    whole=whole,
                )
            )
        return tuple(specs)


def _tower_of_card(manifest: Manifest, placement: Placement) -> Tower:
    return replace(manifest.towers[placement.tower], index=placement.card)
