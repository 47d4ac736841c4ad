from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_service.loader import Loader
from service_kit import errors
from service_kit.artifact_store import ArtifactStore
from service_kit.manifest import Tower
from tests.support.engines import MeanEngine, pixels
from tests.support.manifests import conversion, graph_file


class Engines:
    """A factory that remembers what it made."""

    def __init__(self) -> None:
        self.made: list[MeanEngine] = []

    def __call__(self, graph: bytes, towers: Sequence[Tower]) -> MeanEngine:
        self.made.append(MeanEngine(graph, towers))
        return self.made[-1]


def publish(store: ArtifactStore, folder: Path, content: bytes = b"1", cards: int = 2) -> int:
    return store.publish("m", conversion(content, cards), graph_file(folder, content)).version


def loader(store: ArtifactStore, engines: Engines) -> Loader:
    return Loader(store, engines, max_batch_size=4, queue_images=9)


def test_every_card_is_warmed_once_before_it_can_be_asked(
    memory_store: ArtifactStore, tmp_path: Path
) -> None:
    publish(memory_store, tmp_path, cards=3)
    engines = Engines()
    servable = loader(memory_store, engines).load("m", 1)
    assert engines.made[0].batches == [(0, 1), (1, 1), (2, 1)]
    assert [card.answered for card in servable.cards] == [0, 0, 0]
    servable.close()
    assert engines.made[0].closed


def test_each_card_runs_its_own_tower(store: ArtifactStore, tmp_path: Path) -> None:
    publish(store, tmp_path)
    engines = Engines()
    servable = loader(store, engines).load("m", 1)
    for index in (0, 1):
        servable.card(index).submit({"input": pixels(1)}, 1).result(30)
    assert engines.made[0].batches[-2:] == [(0, 1), (1, 1)]
    with pytest.raises(errors.CardNotFound, match="has no card 2; it has 0, 1"):
        servable.card(2)
    with pytest.raises(errors.CardNotFound, match="has no card -1"):
        servable.card(-1)
    servable.close()


def test_a_graph_that_was_changed_never_reaches_an_engine(
    store: ArtifactStore, tmp_path: Path
) -> None:
    publish(store, tmp_path)
    (Path(store.url) / "m" / "1" / "frozen_model.pb").write_bytes(b"2")
    engines = Engines()
    with pytest.raises(errors.ArtifactCorrupt, match="SHA-256"):
        loader(store, engines).load("m", 1)
    assert engines.made == []


def test_an_engine_that_cannot_warm_is_closed(store: ArtifactStore, tmp_path: Path) -> None:
    publish(store, tmp_path)

    class Failing(MeanEngine):
        poison = 0.0

    made: list[Failing] = []

    def factory(graph: bytes, towers: Sequence[Tower]) -> Failing:
        made.append(Failing(graph, towers))
        return made[-1]

    with pytest.raises(errors.EngineFailed, match="poisoned"):
        Loader(store, factory, max_batch_size=4, queue_images=9).load("m", 1)
    assert made[0].closed


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (np.zeros(3, np.float32), r"float32 \[3\] as 'probs'; the manifest says float32 \[-1, 3\]"),
        (np.zeros((1, 4), np.float32), r"float32 \[1, 4\]"),
        (np.zeros((2, 3), np.float32), r"float32 \[2, 3\]"),
        (np.zeros((1, 3), np.float64), r"float64 \[1, 3\]"),
    ],
)
def test_a_graph_that_answers_otherwise_than_its_manifest_says_is_refused(
    store: ArtifactStore, tmp_path: Path, answer: np.ndarray, words: str
) -> None:
    publish(store, tmp_path)

    class Other(MeanEngine):
        def run(self, card: int, inputs: Any) -> Any:
            return {"probs": answer}

    with pytest.raises(errors.EngineFailed, match=words):
        Loader(store, Other, max_batch_size=4, queue_images=9).load("m", 1)
