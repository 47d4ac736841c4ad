from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service_kit import errors
from service_kit.artifacts import manifest_codec
from service_kit.artifacts.manifest import Manifest, MetaGraphReport, published_as
from tests.support.manifests import conversion


def document(cards: int = 2) -> Manifest:
    created = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    return published_as(conversion(cards=cards), "digits", 3, created)


_SPEC: dict[str, object] = {
    "name": "input",
    "tensor_name": "input:0",
    "dtype": "float32",
    "shape": ["-1", "2"],
}


def _tower_with(**changes: object) -> dict[str, object]:
    return {"inputs": [_SPEC | changes], "outputs": [_SPEC]}


@pytest.mark.parametrize("cards", [1, 2, 5])
def test_a_manifest_comes_back_from_its_json(cards: int) -> None:
    original = document(cards)
    assert manifest_codec.from_json(manifest_codec.to_json(original), "x") == original


def test_what_became_of_state_comes_back_from_its_json() -> None:
    report = MetaGraphReport((), 1, 2, {}, initial_states=("h", "c"), kept_stored=("memory",))
    original = replace(document(), meta_graph=report)
    found = manifest_codec.from_json(manifest_codec.to_json(original), "x")
    assert found.meta_graph == report


def test_the_json_has_the_names_of_the_contract() -> None:
    text = json.loads(manifest_codec.to_json(document()))
    assert text["graph"]["sha256"] == document().graph.sha256
    assert text["towers"][1]["inputs"][0]["tensor_name"] == "Card_1/input:0"
    assert text["parity"]["passed"] is True
    assert text["created_at"] == "2026-01-02T03:04:05Z"


def test_a_checkpoint_without_a_step_has_none() -> None:
    original = document()
    original = replace(original, checkpoint=replace(original.checkpoint, global_step=None))
    assert manifest_codec.from_json(manifest_codec.to_json(original), "x") == original


@pytest.mark.parametrize(
    ("field", "value", "reader"), [("unbatched", True, 2), ("max_batch", 1, 3)]
)
def test_readers_that_know_nothing_of_how_it_may_be_served_find_no_graph(
    field: str, value: Any, reader: int
) -> None:
    original = replace(document(), **{field: value})
    text = json.loads(manifest_codec.to_json(original))
    assert (text[field], text["min_reader"]) == (value, reader)
    assert manifest_codec.from_json(json.dumps(text).encode(), "x") == original
    known = {key: text[key] for key in text.keys() - {field, "min_reader", "guarded_graph"}}
    with pytest.raises(errors.ArtifactCorrupt, match="the graph's file name is ''"):
        manifest_codec.from_json(json.dumps(known).encode(), "x")


def test_an_artifact_for_later_readers_is_refused_by_what_to_do() -> None:
    text = json.loads(manifest_codec.to_json(document())) | {"min_reader": 4}
    with pytest.raises(errors.ArtifactCorrupt, match="upgrade pbserve: x is for readers from 4"):
        manifest_codec.from_json(json.dumps(text).encode(), "x")


def test_only_unbatched_outputs_do_without_a_dimension_for_the_batch() -> None:
    table = {"name": "table", "tensor_name": "t:0", "dtype": "float32", "shape": ["7", "2"]}
    number = {"name": "number", "tensor_name": "n:0", "dtype": "float32"}
    towers = [{"inputs": [_SPEC], "outputs": [table, number]}]
    text = json.loads(manifest_codec.to_json(replace(document(), unbatched=True)))
    found = manifest_codec.from_json(json.dumps(text | {"towers": towers}).encode(), "x")
    assert [spec.shape for spec in found.towers[0].outputs] == [(7, 2), ()]
    text = json.loads(manifest_codec.to_json(document()))
    with pytest.raises(errors.ArtifactCorrupt, match=r"'t:0' .*does not take any batch"):
        manifest_codec.from_json(json.dumps(text | {"towers": towers}).encode(), "x")


def test_sizes_to_probe_with_are_such_as_the_input_has() -> None:
    original = document()
    open_ = replace(original.towers[0].inputs[0], shape=(-1, -1, -1, 3))
    for shape, fits in [((8, 9, 3), True), ((8, 9, 4), False), ((8, 3), False), ((0, 9, 3), False)]:
        tower = replace(original.towers[0], inputs=(replace(open_, probe_shape=shape),))
        text = manifest_codec.to_json(replace(original, towers=(tower,)))
        if fits:
            assert manifest_codec.from_json(text, "x").towers[0] == tower
        else:
            with pytest.raises(errors.ArtifactCorrupt, match="cannot be probed with"):
                manifest_codec.from_json(text, "x")


def test_rows_are_proven_when_every_output_is_named() -> None:
    original = document()
    assert original.rows_proven
    assert manifest_codec.from_json(manifest_codec.to_json(original), "x").rows_proven
    parity = replace(original.parity, rows_by_inference=(), rows_by_runs=("other",))
    assert not replace(original, parity=parity).rows_proven


def test_fields_of_later_releases_are_passed_over() -> None:
    text = json.loads(manifest_codec.to_json(document())) | {"novelty": {"a": 1}}
    assert manifest_codec.from_json(json.dumps(text).encode(), "x") == document()


def test_manifests_of_release_0_1_allowed_the_tolerance_itself() -> None:
    text = json.loads(manifest_codec.to_json(document()))
    del text["parity"]["comparisons"][0]["allowed_difference"]
    found = manifest_codec.from_json(json.dumps(text).encode(), "x")
    assert found.parity.comparisons[0].allowed_difference == document().parity.tolerance
    message = manifest_codec.parity_to_proto(document().parity)
    message.comparisons[0].ClearField("allowed_difference")
    assert manifest_codec.parity_from_proto(message) == found.parity


@pytest.mark.parametrize(
    "change",
    [
        {"moving_average": {"mode": 9}},
        {"preprocessing": {"augmentation": 9}},
        {"checkpoint": {"path": "a"}},
    ],
)
def test_enums_of_later_releases_are_refused(change: dict[str, object]) -> None:
    text = json.loads(manifest_codec.to_json(document())) | change
    with pytest.raises(errors.ArtifactCorrupt, match=r"x is not a manifest: .* is not known here"):
        manifest_codec.from_json(json.dumps(text).encode(), "x")


def test_enums_that_are_left_out_mean_what_the_contract_says() -> None:
    text = json.loads(manifest_codec.to_json(document()))
    del text["moving_average"]["mode"], text["preprocessing"]["augmentation"]
    assert manifest_codec.from_json(json.dumps(text).encode(), "x") == document()


def test_class_labels_come_back_in_order_and_may_be_equal() -> None:
    original = replace(document(), class_labels=("crane", "böse, Übel", "crane"))
    text = manifest_codec.to_json(original)
    assert json.loads(text)["class_labels"] == ["crane", "böse, Übel", "crane"]
    assert manifest_codec.from_json(text, "x") == original


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model": "../up"}, "names model"),
        ({"version": "0"}, "names model"),
        ({"graph": {"file_name": "../../etc/passwd"}}, "file name"),
        ({"graph": {}}, "file name"),
        ({"graph": {"file_name": "a\0b"}}, "file name"),
        ({"graph": {"file_name": "manifest.json"}}, "file name"),
        ({"graph": {"file_name": "x" * 300}}, "file name"),
        ({"towers": [{"inputs": [_SPEC, _SPEC], "outputs": [_SPEC]}]}, "two tensors of one name"),
        ({"towers": [_tower_with(shape=["-1", "0"])]}, "has shape"),
        ({"towers": [_tower_with(shape=["-1", *["2"] * 40])]}, "has shape"),
        ({"towers": [_tower_with(shape=["-1", "100000", "100000"])]}, "has shape"),
        ({"towers": []}, "no tower"),
        ({"towers": [{"index": 1}]}, "not numbered"),
        ({"created_at": "yesterday"}, "not a manifest"),
        ({"towers": [_tower_with(shape=["1", "2", "2", "3"])]}, "does not take any batch"),
        ({"towers": [_tower_with(shape=[])]}, "does not take any batch"),
        ({"towers": [_tower_with(shape=["-1", "-2"])]}, r"has shape \[-1, -2\]"),
        ({"towers": [_tower_with(shape=["-1", "99999999999"])]}, "has shape"),
        ({"towers": [_tower_with(dtype="complex")]}, "has dtype 'complex'"),
        ({"class_labels": ["a", "b"]}, "2 class labels, and the output probs has 3 classes"),
        ({"class_labels": ["a", "b\x1b[2J", "c"]}, "class label 1 has control characters"),
        (
            {
                "towers": [{"inputs": [_SPEC], "outputs": [_SPEC, _SPEC | {"name": "other"}]}],
                "class_labels": ["a", "b"],
            },
            r"several outputs \(input, other\)",
        ),
    ],
)
def test_refuses_what_readers_could_not_act_on(change: dict[str, object], problem: str) -> None:
    text = json.loads(manifest_codec.to_json(document())) | change
    with pytest.raises(errors.ArtifactCorrupt, match=problem) as caught:
        manifest_codec.from_json(json.dumps(text).encode(), "digits/3/manifest.json")
    assert "digits/3/manifest.json" in str(caught.value)


@given(st.binary(max_size=200) | st.just(b"[" * 100_000) | st.just(b'{"towers":' * 50_000))
def test_noise_is_never_more_than_a_corrupt_manifest(noise: bytes) -> None:
    with pytest.raises(errors.ArtifactCorrupt):
        manifest_codec.from_json(noise, "x")
