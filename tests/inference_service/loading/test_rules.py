from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from inference_service.cards.batch_limit import BatchTiming
from inference_service.cards.card_spec import CardSpec
from inference_service.engine.devices import Device, Placement
from inference_service.loading.model_list import ListedModel
from inference_service.loading.models_file import ModelSettings, ModelsFile
from inference_service.loading.policy import KEEP_ALL, KEEP_NONE, LATEST_ONE, Keep
from inference_service.loading.rules import LoadOptions, ModelDefaults, ModelRules
from tests.support.manifests import tower

# As measured on CPUs: 4 is best, 8 is not worth it.
TIMINGS = tuple(BatchTiming(n, took) for n, took in ((1, 1.0), (2, 1.5), (4, 2.5), (8, 5.0)))
ON_CPU = CardSpec(tower(), Placement(0, 0, Device("cpu", 0), ()), lambda x: x, {}, TIMINGS)
ON_GPU = replace(ON_CPU, placement=Placement(0, 0, Device("gpu", 0), ()))


def rules(**settings: Any) -> ModelRules:
    return ModelRules(ModelDefaults(), ModelsFile({"m": ModelSettings(**settings)}))


def test_the_server_decides_where_the_file_says_nothing() -> None:
    defaults = ModelDefaults(KEEP_ALL, 16, 0.5, 7, 8, replicate=False, unload_first=True)
    found = ModelRules(defaults)
    assert found.rule("m").keep == KEEP_ALL
    assert found.rule("m").unload_first
    assert found.load_options("m") == LoadOptions(16, replicate=False)
    limits = found.limits("m")(ON_CPU)
    assert (limits.batch, limits.queue_images, limits.queue_bytes) == (4, 7, 8)
    assert limits.max_queue_delay == 0.5


def test_the_file_decides_where_it_says_something() -> None:
    found = rules(
        keep=Keep("latest", 3),
        max_batch_size=2,
        max_queue_delay=0.0,
        queue_images=1,
        queue_bytes=2,
        replicate=False,
        unload_first=True,
    )
    assert found.rule("m").keep == Keep("latest", 3)
    assert found.rule("other").keep == LATEST_ONE
    assert found.load_options("m") == LoadOptions(2, replicate=False)
    limits = found.limits("m")(ON_CPU)
    assert (limits.batch, limits.queue_images, limits.queue_bytes) == (2, 1, 2)


def test_the_measured_limit_gives_way_to_a_configured_one() -> None:
    assert rules().limits("m")(ON_CPU).batch == 4
    assert rules(batch_limit=7).limits("m")(ON_CPU).batch == 7
    assert rules(batch_limit=7).load_options("m").max_batch_size == 7


def test_elements_are_bounded_by_memory_or_by_whoever_says_so() -> None:
    measured = replace(ON_CPU, max_elements=7)
    assert rules().limits("m")(ON_CPU).elements == 0
    assert rules().limits("m")(measured).elements == 7
    assert rules(max_elements=9).limits("m")(measured).elements == 9
    assert ModelRules(ModelDefaults(max_elements=8)).limits("m")(measured).elements == 8


def test_a_batch_that_the_graph_fixes_or_that_matters_is_no_measurement() -> None:
    assert rules(batch_limit=7).limits("m")(replace(ON_CPU, max_batch=3)).batch == 3
    assert rules(batch_limit=2).limits("m")(replace(ON_CPU, max_batch=3)).batch == 2
    assert rules().limits("m")(replace(ON_CPU, max_batch=1)).batch == 1
    assert rules(max_batch_size=64).limits("m")(replace(ON_CPU, packs=False)).batch == 64


@pytest.mark.parametrize(
    ("spec", "asked", "sizes"),
    [
        (ON_CPU, None, ()),
        (ON_CPU, True, (1, 2, 4)),
        (ON_GPU, None, (1, 2, 4)),
        (ON_GPU, False, ()),
        (replace(ON_GPU, packs=False), True, ()),
    ],
)
def test_batches_are_padded_on_gpus_or_when_asked_to(
    spec: CardSpec, *, asked: bool | None, sizes: tuple[int, ...]
) -> None:
    assert rules(pad_batches=asked).limits("m")(spec).padded_sizes == sizes


def test_orders_of_operators_add_and_remove_versions() -> None:
    found = rules(keep=KEEP_NONE)
    found.ask_for("m", 3)
    assert found.rule("m").wanted([1, 2, 3]) == {3}
    found.refuse("m", 3)
    assert found.rule("m").wanted([1, 2, 3]) == set()
    found.ask_for("m", 3)
    assert found.rule("m").wanted([1, 2, 3]) == {3}


def test_a_closed_model_opens_when_it_is_asked_for() -> None:
    found = rules()
    found.ask_for("m", 1)
    found.refuse("m", 0)
    assert found.rule("m").wanted([1, 2]) == set()
    found.ask_for("m", 0)
    assert found.rule("m").wanted([1, 2]) == {2}


def test_a_refused_version_is_wanted_again_with_the_whole_model() -> None:
    found = rules()
    found.refuse("m", 2)
    assert found.rule("m").wanted([1, 2]) == {1}
    found.ask_for("m", 0)
    assert found.rule("m").wanted([1, 2]) == {2}


def test_labelled_versions_are_wanted_besides() -> None:
    found = rules(labels={"stable": 1})
    assert found.rule("m").wanted([1, 2, 3]) == {1, 3}
    found.settle_labels({"m": [1, 3]})
    assert found.labels("m") == {"stable": 1}
    found.set_label("m", "stable", 3)
    assert found.rule("m").wanted([1, 2, 3]) == {3}
    found.replace_file(ModelsFile())
    found.set_label("m", "stable", 0)
    assert found.labels("m") == {}
    assert found.labels("unknown") == {}


def test_a_list_of_models_is_all_that_is_wanted() -> None:
    found = rules(keep=KEEP_ALL)
    found.ask_for("m", 1)
    found.replace_list({"m": ListedModel(Keep("latest", 2)), "n": ListedModel()})
    assert found.rule("m").wanted([1, 2, 3]) == {2, 3}
    assert found.rule("n").wanted([1, 2, 3]) == {3}
    assert found.rule("other").wanted([1, 2, 3]) == set()
    found.replace_list({})
    assert found.rule("m").wanted([1, 2, 3]) == set()


def test_orders_after_a_list_change_it() -> None:
    found = rules()
    found.replace_list({"m": ListedModel()})
    found.ask_for("other", 0)
    assert found.rule("other").wanted([1, 2]) == {2}
    found.refuse("m", 0)
    assert found.rule("m").wanted([1, 2]) == set()
    found.replace_list({"m": ListedModel()})
    assert found.rule("m").wanted([1, 2]) == {2}
    assert found.rule("other").wanted([1, 2]) == set()


def test_a_file_that_changes_after_a_list_wins_for_the_models_that_it_changes() -> None:
    before = {"m": ModelSettings(keep=KEEP_ALL), "n": ModelSettings(keep=KEEP_ALL)}
    found = ModelRules(ModelDefaults(), ModelsFile(before))
    found.replace_list({"m": ListedModel(), "n": ListedModel()})
    found.replace_file(ModelsFile({"m": ModelSettings(keep=Keep("latest", 2)), **before}))
    assert found.rule("m").wanted([1, 2, 3]) == {3}
    after = {
        **before,
        "m": ModelSettings(keep=Keep("latest", 2)),
        "other": ModelSettings(keep=KEEP_ALL),
        "silent": ModelSettings(queue_images=1),
    }
    found.replace_file(ModelsFile(after))
    assert found.rule("m").wanted([1, 2, 3]) == {2, 3}
    assert found.rule("n").wanted([1, 2, 3]) == {3}
    assert found.rule("other").wanted([1, 2, 3]) == {1, 2, 3}
    # The file has nothing to say of its versions.
    assert found.rule("silent").wanted([1, 2, 3]) == set()
