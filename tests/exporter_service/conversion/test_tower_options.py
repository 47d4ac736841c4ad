"""Every option of the recipe's towers, on the golden digits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.formats.extra_format import ExtraFormat
from exporter_service.graphs.session import session_config
from exporter_service.specs.conversion import DevicePins, FreezingRoute, TowerOptions
from service_kit import errors
from service_kit.artifacts.manifest import (
    ArchitectureSpec,
    ArtifactFileKind,
    Augmentation,
    Conversion,
    Preprocessing,
)
from tests.support.digits import (
    MEAN,
    PARITY,
    SPEC,
    convert_and_prove,
    digits_spec,
    expected,
)

TOWERS = TowerOptions(image_size=(32, 32))


def frozen(folder: Path, done: Conversion) -> Any:
    return tf.GraphDef.FromString((folder / done.graph.file_name).read_bytes())


def answers(graph_def: Any, done: Conversion, images: Any) -> list[Any]:
    with tf.Graph().as_default(), tf.Session(config=session_config()) as session:
        tf.import_graph_def(graph_def, name="")
        return [
            session.run(one.outputs[0].tensor_name, {one.inputs[0].tensor_name: images})
            for one in done.towers
        ]


@pytest.mark.parametrize("cards", [1, 2])
@pytest.mark.parametrize("architecture", [SPEC, ArchitectureSpec("META_GRAPH", {})])
def test_both_freezing_routes_give_the_same_graph(
    tmp_path: Path, cards: int, architecture: ArchitectureSpec
) -> None:
    graphs = []
    for route in FreezingRoute:
        conversion_spec = digits_spec(
            cards=cards, architecture=architecture, freezing_route=route,
            preprocessing=MEAN if architecture is SPEC else None,
        )  # fmt: skip
        graphs.append(convert_and_prove(conversion_spec, tmp_path).graph)
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize(
    ("cards", "pins", "devices"),
    [
        (1, DevicePins.RECIPE, set()),
        (2, DevicePins.RECIPE, {"/device:CPU:0", "/device:CPU:1"}),
        (1, DevicePins.KEEP, {"/device:CPU:0"}),
        (2, DevicePins.CLEAR, set()),
    ],
)
def test_pins_are_kept_or_cleared_as_asked(
    tmp_path: Path, cards: int, pins: DevicePins, devices: set[str]
) -> None:
    towers = replace(TOWERS, cards=cards, device_kind="cpu", device_pins=pins)
    done = convert_and_prove(digits_spec(towers=towers), tmp_path)
    assert {node.device for node in frozen(tmp_path, done).node} - {""} == devices


@pytest.mark.parametrize("architecture", ["densenet", "META_GRAPH"])
def test_scopes_and_names_are_the_callers(tmp_path: Path, architecture: str) -> None:
    towers = TowerOptions(
        image_size=(32, 32), cards=2, scope_prefix="lanes/Lane", input_name="pixels",
        output_name="answer",
    )  # fmt: skip
    spec = SPEC if architecture == "densenet" else ArchitectureSpec(architecture, {})
    preprocessing = MEAN if spec is SPEC else None
    conversion_spec = digits_spec(towers=towers, architecture=spec, preprocessing=preprocessing)
    done = convert_and_prove(conversion_spec, tmp_path)
    assert [tower.scope for tower in done.towers] == ["lanes/Lane_0", "lanes/Lane_1"]
    for index, tower in enumerate(done.towers):
        assert tower.inputs[0].name == "pixels"
        assert tower.inputs[0].tensor_name == f"lanes/Lane_{index}/pixels:0"
        assert tower.outputs[0].name == "answer"
    for found in answers(frozen(tmp_path, done), done, expected()["images"]):
        np.testing.assert_allclose(found, expected()["probs_ema"], atol=PARITY)


@pytest.mark.parametrize("architecture", ["densenet", "META_GRAPH"])
def test_bytes_are_cast_inside_the_graph(tmp_path: Path, architecture: str) -> None:
    towers = replace(TOWERS, cards=2, input_dtype="uint8")
    spec = SPEC if architecture == "densenet" else ArchitectureSpec(architecture, {})
    preprocessing = MEAN if spec is SPEC else None
    conversion_spec = digits_spec(towers=towers, architecture=spec, preprocessing=preprocessing)
    done = convert_and_prove(conversion_spec, tmp_path)
    assert done.towers[0].inputs[0].dtype == "uint8"
    images = expected()["images"].astype(np.uint8)
    for found in answers(frozen(tmp_path, done), done, images):
        np.testing.assert_allclose(found, expected()["probs_ema"], atol=PARITY)


def test_images_of_any_size_are_taken(tmp_path: Path) -> None:
    towers = TowerOptions(free_image_size=True)
    done = convert_and_prove(digits_spec(towers=towers), tmp_path)
    assert done.towers[0].inputs[0].shape == (-1, -1, -1, 3)
    graph_def = frozen(tmp_path, done)
    (found,) = answers(graph_def, done, expected()["images"])
    np.testing.assert_allclose(found, expected()["probs_ema"], atol=PARITY)
    (larger,) = answers(graph_def, done, np.ones((2, 48, 40, 3)))
    np.testing.assert_allclose(larger.sum(axis=1), 1, atol=1e-5)


def test_channels_first_gives_the_same_answers(tmp_path: Path) -> None:
    spec = ArchitectureSpec("densenet", {**SPEC.parameters, "data_format": "NCHW"})
    done = convert_and_prove(digits_spec(architecture=spec), tmp_path)
    (found,) = answers(frozen(tmp_path, done), done, expected()["images"])
    np.testing.assert_allclose(found, expected()["probs_ema"], atol=PARITY)


def test_the_checkpoint_with_placeholder_is_kept_on_request(tmp_path: Path) -> None:
    conversion_spec = digits_spec(cards=2, keep_checkpoint=True)
    done = convert_and_prove(conversion_spec, tmp_path)
    kept = [file.file_name for file in done.files if file.kind is ArtifactFileKind.CHECKPOINT]
    assert kept == [
        "multi_model.ckpt.data-00000-of-00001", "multi_model.ckpt.index", "multi_model.ckpt.meta",
    ]  # fmt: skip
    with tf.Graph().as_default(), tf.Session(config=session_config()) as session:
        prefix = str(tmp_path / "multi_model.ckpt")
        tf.train.import_meta_graph(f"{prefix}.meta").restore(session, prefix)
        found = session.run("Card_1/probs:0", {"Card_1/input:0": expected()["images"]})
    np.testing.assert_allclose(found, expected()["probs_ema"], atol=PARITY)


AUGMENTED = Preprocessing(MEAN.mean, augmentation=Augmentation.TRAINING)


@pytest.mark.parametrize("cards", [1, 2])
def test_an_augmented_graph_is_proven_behind_its_augmentation(tmp_path: Path, cards: int) -> None:
    towers = replace(TOWERS, cards=cards, input_dtype="uint8")
    conversion_spec = digits_spec(towers=towers, preprocessing=AUGMENTED)
    done = convert_and_prove(conversion_spec, tmp_path)
    assert done.parity.passed
    assert "the augmentation: its answers are random by design" in done.parity.not_compared[0]
    assert done.preprocessing.augmentation is Augmentation.TRAINING
    graph_def = frozen(tmp_path, done)
    images = expected()["images"][:8].astype(np.uint8)
    first, second = (answers(graph_def, done, images)[-1] for _ in range(2))
    assert not np.array_equal(first, second)
    with tf.Graph().as_default(), tf.Session(config=session_config()) as session:
        tf.import_graph_def(graph_def, name="")
        scope = f"{done.towers[-1].scope}/" if cards > 1 else ""
        feed = {f"{scope}augmented:0": expected()["images"]}
        found = session.run(f"{scope}probs:0", feed)
    np.testing.assert_allclose(found, expected()["probs_ema"], atol=PARITY)


def test_a_training_graph_takes_no_other_augmentation(tmp_path: Path) -> None:
    spec = ArchitectureSpec("META_GRAPH", {})
    conversion_spec = digits_spec(architecture=spec, preprocessing=AUGMENTED)
    with pytest.raises(errors.Unconvertible, match="a training graph brings its own"):
        convert_and_prove(conversion_spec, tmp_path)


def test_the_callers_probe_and_tolerance_are_used(tmp_path: Path) -> None:
    probe = {"": expected()["images"][:3].astype(np.float32)}
    done = convert_and_prove(digits_spec(probe=probe, tolerance=1e-3), tmp_path)
    assert {one.probe for one in done.parity.comparisons} == {"ones", "noise", "caller"}
    assert done.parity.tolerance == 1e-3
    with pytest.raises(errors.InvalidRequest, match="the probe's input is float32"):
        convert_and_prove(digits_spec(probe={"": np.ones((1, 3), np.float32)}), tmp_path)


@pytest.mark.parametrize("spec", [SPEC, ArchitectureSpec("META_GRAPH", {})])
def test_other_formats_answer_the_same(tmp_path: Path, spec: ArchitectureSpec) -> None:
    conversion_spec = digits_spec(
        cards=2, architecture=spec, formats=(ExtraFormat.SAVED_MODEL, ExtraFormat.ONNX),
        preprocessing=MEAN if spec is SPEC else None,
    )  # fmt: skip
    done = convert_and_prove(conversion_spec, tmp_path)
    subjects = {one.subject for one in done.parity.comparisons}
    assert {
        "SAVED_MODEL of Card_0 with session",
        "SAVED_MODEL of Card_1 with session",
        "ONNX of Card_0 with session",
    } <= subjects
    names = {file.file_name for file in done.files}
    assert names == {"saved_model.pb", "model.onnx", "parity.npz"}


def test_names_that_the_graph_has_already_are_refused(tmp_path: Path) -> None:
    towers = replace(TOWERS, output_name="sub")
    with pytest.raises(errors.Unconvertible, match="sub cannot be the name"):
        convert_and_prove(digits_spec(towers=towers), tmp_path)
