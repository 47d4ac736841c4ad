"""From a published version to a warmed servable."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from inference_service.card import Card
from inference_service.engine import Engine, EngineFactory
from inference_service.servable import Servable
from service_kit import errors
from service_kit.artifact_store import ArtifactStore
from service_kit.manifest import Manifest, TensorSpec, Tower

# Warms graphs that take images of any size.
_ANY_SIDE = 224


class Loader:
    """Reads, verifies, imports and warms artifacts. Blocks; runs beside the event loop."""

    def __init__(
        self,
        store: ArtifactStore,
        engine_factory: EngineFactory,
        *,
        max_batch_size: int,
        queue_images: int,
    ) -> None:
        """Loads from `store` into engines made by `engine_factory`; limits are in images."""
        self._store = store
        self._engine_factory = engine_factory
        self._max_batch_size = max_batch_size
        self._queue_images = queue_images

    def load(self, model: str, version: int) -> Servable:
        """Returns the version with every card warmed.

        Raises:
            ArtifactNotFound: it was deleted meanwhile.
            ArtifactCorrupt: manifest, size or digest are not those of the publication.
            EngineFailed: the graph cannot be imported or run.
            StoreUnavailable: the store cannot be read.
        """
        manifest = self._store.manifest(model, version)
        # Size and digest are verified before the bytes are parsed.
        engine = self._engine_factory(self._store.graph(manifest), manifest.towers)
        try:
            for tower in manifest.towers:
                _warm(engine, tower)
        except BaseException:
            engine.close()
            raise
        return Servable(manifest, engine, self._cards(manifest, engine))

    def _cards(self, manifest: Manifest, engine: Engine) -> list[Card]:
        return [
            Card(
                tower,
                partial(engine.run, tower.index),
                max_batch_size=self._max_batch_size,
                queue_images=self._queue_images,
            )
            for tower in manifest.towers
        ]


def _warm(engine: Engine, tower: Tower) -> None:
    """Runs one image: the first run of a tower optimises its graph, which takes seconds.

    Raises:
        EngineFailed: it cannot run, or its outputs are not those of the manifest.
    """
    outputs = engine.run(tower.index, {spec.name: _blank(spec) for spec in tower.inputs})
    for spec in tower.outputs:
        found, expected = outputs[spec.name], (1, *spec.shape[1:])
        if found.dtype != np.dtype(spec.dtype) or not _fits(found.shape, expected):
            raise errors.EngineFailed(
                f"card {tower.index} answers one image with {found.dtype} {list(found.shape)} as "
                f"{spec.name!r}; the manifest says {spec.dtype} {list(spec.shape)}"
            )


def _fits(shape: Sequence[int], expected: Sequence[int]) -> bool:
    return len(shape) == len(expected) and all(
        want in (-1, size) for size, want in zip(shape, expected, strict=True)
    )


def _blank(spec: TensorSpec) -> np.ndarray:
    sizes = [_ANY_SIDE if size < 0 else size for size in spec.shape[1:]]
    return np.zeros([max(1, spec.shape[0]), *sizes], spec.dtype)
