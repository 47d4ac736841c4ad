from __future__ import annotations

import itertools
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_service.cards.batch_limit import BatchTiming, batch_limit
from inference_service.loading.loader import Loader
from inference_service.loading.rules import LoadOptions
from service_kit import errors
from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import MeanEngine, MeanEngines, one_second_a_run
from tests.support.manifests import conversion, graph_file


def publish(store: ArtifactStore, folder: Path, content: bytes = b"1", cards: int = 2) -> int:
    return store.publish("m", conversion(content, cards), graph_file(folder, content)).version


OPTIONS = LoadOptions(max_batch_size=4, replicate=True)


def test_every_card_is_warmed_with_growing_batches_before_it_can_be_asked(
    memory_store: ArtifactStore, tmp_path: Path
) -> None:
    publish(memory_store, tmp_path, cards=3)
    engines = MeanEngines()
    specs = Loader(memory_store, engines, clock=one_second_a_run()).load("m", 1, OPTIONS).specs
    # Twice: once to prepare, once to measure, which a second of run is enough for.
    assert engines.made[0].batches == [(card, n) for card in range(3) for n in (1, 1, 2, 2, 4, 4)]
    assert [[t.batch_size for t in spec.timings] for spec in specs] == [[1, 2, 4]] * 3
    assert [batch_limit(spec.timings) for spec in specs] == [4, 4, 4]


def test_what_cards_share_is_warmed_once(store: ArtifactStore, tmp_path: Path) -> None:
    publish(store, tmp_path, cards=3)

    class Shared(MeanEngine):
        def prepare(self, card: int) -> int:
            return 0

    engines = MeanEngines(make=Shared)
    specs = Loader(store, engines, clock=one_second_a_run()).load("m", 1, OPTIONS).specs
    assert {card for card, _ in engines.made[0].batches} == {0}
    assert len({spec.timings for spec in specs}) == 1


def test_images_of_any_size_are_bounded_by_the_memory_that_a_batch_takes(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def took(run: Any, tower: Any, *_: Any, **__: Any) -> tuple[BatchTiming, ...]:
        return (BatchTiming(1, 1.0, 1000),)

    monkeypatch.setattr("inference_service.loading.loader.warm", took)
    monkeypatch.setattr("inference_service.loading.loader.available_bytes", lambda: 160_000)
    one = conversion(b"1")
    inputs = (replace(one.towers[0].inputs[0], shape=(-1, -1, -1, 3)),)
    free = replace(one, towers=(replace(one.towers[0], inputs=inputs),))
    for model, described in (("fixed", one), ("free", free)):
        store.publish(model, described, graph_file(tmp_path, b"1"))
    loader = Loader(store, MeanEngines())
    assert [spec.max_elements for spec in loader.load("fixed", 1, OPTIONS).specs] == [0]
    warmed = 224 * 224 * 3
    (spec,) = loader.load("free", 1, OPTIONS).specs
    assert spec.max_elements == 20_000 * warmed // 1000


@pytest.mark.parametrize(
    ("devices", "cards", "replicate", "places"),
    [
        (4, 2, True, ["0 of 0 on cpu:0", "1 of 1 on cpu:1", "2 of 0 on cpu:2", "3 of 0 on cpu:3"]),
        (4, 2, False, ["0 of 0 on cpu:0", "1 of 1 on cpu:1"]),
        (1, 4, True, [f"{card} of {card} on cpu:0" for card in range(4)]),
        (2, 1, True, ["0 of 0 on cpu:0", "1 of 0 on cpu:1"]),
    ],
)
def test_cards_are_placed_on_the_devices(
    store: ArtifactStore, tmp_path: Path, devices: int, cards: int, *, replicate: bool,
    places: list[str],
) -> None:  # fmt: skip
    publish(store, tmp_path, cards=cards)
    engines = MeanEngines(devices)
    specs = Loader(store, engines).load("m", 1, LoadOptions(1, replicate)).specs
    found = [spec.placement for spec in specs]
    assert [f"{p.card} of {p.tower} on {p.device}" for p in found] == places
    assert [spec.tower.index for spec in specs] == list(range(len(places)))
    made = engines.made[0].cards
    assert [(one.tower.index, one.device) for one in made] == [(p.tower, p.device) for p in found]


def test_cards_are_warmed_at_low_priority_and_who_loads_keeps_its_own(
    store: ArtifactStore, tmp_path: Path
) -> None:
    publish(store, tmp_path)
    found: set[int] = set()

    class Noting(MeanEngine):
        def run(self, card: int, inputs: Any) -> Any:
            found.add(niceness())
            return super().run(card, inputs)

    before = niceness()
    Loader(store, MeanEngines(make=Noting)).load("m", 1, OPTIONS)
    assert found == {min(before + 5, 19)}
    assert niceness() == before


@pytest.mark.parametrize(("on_caller", "seconds"), [(True, 0.5), (False, 2.0)])
def test_batches_are_timed_by_processor_time_where_that_is_all_they_cost(
    store: ArtifactStore,
    tmp_path: Path,
    on_caller: bool,  # noqa: FBT001
    seconds: float,
) -> None:
    publish(store, tmp_path)

    class Computing(MeanEngine):
        computes_on_caller = on_caller

    wall, processor = itertools.count(0.0, 2.0), itertools.count(0.0, 0.5)
    loader = Loader(
        store,
        MeanEngines(make=Computing),
        clock=lambda: next(wall),
        thread_clock=lambda: next(processor),
    )
    specs = loader.load("m", 1, OPTIONS).specs
    assert {one.seconds for spec in specs for one in spec.timings} == {seconds}


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_a_graph_that_was_changed_never_reaches_an_engine(
    store: ArtifactStore, tmp_path: Path
) -> None:
    publish(store, tmp_path)
    (Path(store.url) / "m" / "1" / "frozen_model.pb").write_bytes(b"2")
    engines = MeanEngines()
    with pytest.raises(errors.ArtifactCorrupt, match="SHA-256"):
        Loader(store, engines).load("m", 1, OPTIONS)
    assert engines.made == []


def test_an_engine_that_cannot_warm_is_closed(store: ArtifactStore, tmp_path: Path) -> None:
    publish(store, tmp_path)

    class Failing(MeanEngine):
        poison = 0.0

    engines = MeanEngines(make=Failing)
    with pytest.raises(errors.EngineFailed, match="poisoned"):
        Loader(store, engines).load("m", 1, OPTIONS)
    assert engines.made[0].closed


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
        Loader(store, MeanEngines(make=Other)).load("m", 1, OPTIONS)
