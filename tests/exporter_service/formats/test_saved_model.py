from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf import saved_model_pb2

from exporter_service.formats.saved_model import answers_of_saved_model, write_saved_model
from service_kit import errors
from tests.exporter_service.formats import serving_loader
from tests.exporter_service.formats.frozen_graphs import Build, Frozen, digits, frozen
from tests.exporter_service.formats.graph_kinds import KINDS
from tests.support.digits import PARITY, expected

Feeds = dict[str, Any]


@pytest.fixture(scope="module")
def two_cards() -> Frozen:
    return digits(2)


@pytest.fixture
def images() -> Any:
    return expected()["images"][:5]


def parsed(folder: Path) -> Any:
    return saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())


def test_it_is_one_file_with_a_signature_a_card_and_a_default(
    two_cards: Frozen, tmp_path: Path
) -> None:
    path = write_saved_model(two_cards.graph_def, two_cards.towers, tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.name == "saved_model.pb"
    (meta,) = parsed(tmp_path).meta_graphs
    assert list(meta.meta_info_def.tags) == ["serve"]
    signatures = meta.signature_def
    assert signatures.keys() == {"serving_default", "card_0", "card_1"}
    assert signatures["serving_default"] == signatures["card_0"]
    card = signatures["card_1"]
    assert card.method_name == "tensorflow/serving/predict"
    assert card.inputs["input"].name == "Card_1/input:0"
    assert [one.size for one in card.inputs["input"].tensor_shape.dim] == [-1, 32, 32, 3]
    assert card.outputs["probs"].name == "Card_1/probs:0"
    assert card.outputs["probs"].dtype == tf.float32.as_datatype_enum


@pytest.mark.parametrize("cards", [1, 2])
def test_every_signature_answers_what_tensorflow_answers(
    cards: int, images: Any, tmp_path: Path
) -> None:
    graph = digits(cards)
    write_saved_model(graph.graph_def, graph.towers, tmp_path)
    found = answers_of_saved_model(tmp_path, graph.towers, {"input": images})
    assert len(found) == cards
    for one, reference in zip(found, graph.answers({"input": images}), strict=True):
        np.testing.assert_array_equal(one["probs"], reference["probs"])
        np.testing.assert_allclose(one["probs"], expected()["probs_ema"][:5], rtol=0, atol=PARITY)


@pytest.mark.parametrize(("build", "feeds"), KINDS.values(), ids=KINDS)
def test_graphs_of_every_kind_keep_their_numbers(
    build: Build, feeds: Feeds, tmp_path: Path
) -> None:
    graph = frozen(build)
    write_saved_model(graph.graph_def, graph.towers, tmp_path)
    (found,) = answers_of_saved_model(tmp_path, graph.towers, feeds)
    (reference,) = graph.answers(feeds)
    assert found.keys() == reference.keys()
    for name, array in reference.items():
        np.testing.assert_array_equal(found[name], array)


def test_strings_pass(tmp_path: Path) -> None:
    def build() -> tuple[Feeds, Feeds]:
        words = tf.placeholder(tf.string, [None], name="words")
        return {"words": words}, {"louder": tf.strings.join([words, "!"])}

    graph = frozen(build)
    write_saved_model(graph.graph_def, graph.towers, tmp_path)
    feeds = {"words": np.array([b"a", b"b"], object)}
    (found,) = answers_of_saved_model(tmp_path, graph.towers, feeds)
    assert list(found["louder"]) == [b"a!", b"b!"]


def test_tensorflow_2_loads_it(two_cards: Frozen, images: Any, tmp_path: Path) -> None:
    write_saved_model(two_cards.graph_def, two_cards.towers, tmp_path)
    loaded = tf.saved_model.load_v2(str(tmp_path))
    (_, reference) = two_cards.answers({"input": images})
    found = loaded.signatures["card_1"](input=tf.constant(images, tf.float32))
    np.testing.assert_array_equal(found["probs"].numpy(), reference["probs"])


def test_the_same_graph_gives_the_same_bytes_and_stays_as_it_is(
    two_cards: Frozen, tmp_path: Path
) -> None:
    before = two_cards.graph_def.SerializeToString(deterministic=True)
    contents = set()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        path = write_saved_model(two_cards.graph_def, two_cards.towers, tmp_path / name)
        contents.add(path.read_bytes())
    assert len(contents) == 1
    assert two_cards.graph_def.SerializeToString(deterministic=True) == before


def run_as_serving(folder: Path, images: Any, scratch: Path) -> subprocess.CompletedProcess[str]:
    """Runs the signature `card_1` in a fresh process on a machine without cards."""
    signature = parsed(folder).meta_graphs[0].signature_def["card_1"]
    np.save(scratch / "images.npy", images)
    return subprocess.run(
        [
            sys.executable, serving_loader.__file__, tf.sysconfig.get_lib(), str(folder),
            signature.inputs["input"].name, signature.outputs["probs"].name,
            str(scratch / "images.npy"), str(scratch / "answer.npy"),
        ],
        env={"CUDA_VISIBLE_DEVICES": "-1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_loader_of_tensorflow_serving_runs_it_without_a_card(
    two_cards: Frozen, images: Any, tmp_path: Path
) -> None:
    # A version's folder as the store has it: flat, the format's file beside others.
    folder = tmp_path / "digits" / "1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    write_saved_model(two_cards.graph_def, two_cards.towers, folder)
    done = run_as_serving(folder, images, tmp_path)
    assert done.returncode == 0, done.stderr
    (_, reference) = two_cards.answers({"input": images})
    np.testing.assert_array_equal(np.load(tmp_path / "answer.npy"), reference["probs"])


def test_with_device_pins_the_loader_of_tensorflow_serving_refuses_it(
    two_cards: Frozen, images: Any, tmp_path: Path
) -> None:
    path = write_saved_model(two_cards.graph_def, two_cards.towers, tmp_path)
    pinned = parsed(tmp_path)
    pinned.meta_graphs[0].graph_def.CopyFrom(two_cards.graph_def)
    path.write_bytes(pinned.SerializeToString())
    done = run_as_serving(tmp_path, images, tmp_path)
    assert "Cannot assign a device" in done.stderr


def test_pins_inside_functions_are_cleared_too(tmp_path: Path) -> None:
    graph_def = tf.GraphDef()
    graph_def.CopyFrom(digits(1).graph_def)
    function = graph_def.library.function.add()
    function.signature.name = "doubled"
    function.node_def.add(name="two", op="NoOp", device="/gpu:1")
    write_saved_model(graph_def, digits(1).towers, tmp_path)
    (kept,) = parsed(tmp_path).meta_graphs[0].graph_def.library.function
    assert [node.device for node in kept.node_def] == [""]


def test_a_folder_that_is_not_there_is_named_as_the_problem(
    two_cards: Frozen, tmp_path: Path
) -> None:
    with pytest.raises(errors.ScratchUnavailable, match="cannot write"):
        write_saved_model(two_cards.graph_def, two_cards.towers, tmp_path / "missing")
