"""Small graphs of many kinds: what passes the exporter's proof loads, and answers as TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.conversion.adopt import adopt
from exporter_service.parity.proof import prove
from exporter_service.specs.conversion import AdoptionRequest, AdoptionSpec
from inference_service.engine.devices import parse_devices
from inference_service.engine.tensorflow import TensorFlowEngines
from inference_service.loading.loader import Loader
from inference_service.loading.models_file import ModelSettings, ModelsFile
from inference_service.loading.rules import LoadOptions, ModelDefaults, ModelRules
from inference_service.models.servable import Servable
from service_kit import errors
from service_kit.artifacts.manifest import Conversion
from service_kit.store.artifact_store import ArtifactStore
from tests.support.cards import submit
from tests.support.meta_graph_conversions import converted
from tests.support.training_graphs import dense, save

Build = Callable[[Any], Any]
INPUTS = np.random.default_rng(3).normal(size=(4, 6)).astype(np.float32)


def normalised(x: Any) -> Any:
    with tf.name_scope("y/normal"):
        return tf.nn.l2_normalize(x, 1)


def waiting(x: Any) -> Any:
    with tf.control_dependencies([tf.constant(1.0, name="ready")]):
        return x * 2


KINDS: dict[str, Build] = {
    "argmax": lambda x: tf.argmax(x, 1, name="y"),
    "reshape": lambda x: tf.reshape(x, [-1, 3, 2], name="y"),
    "mean": lambda x: tf.reduce_mean(tf.reshape(x, [-1, 3, 2]), [1], name="y"),
    "transpose": lambda x: tf.transpose(tf.reshape(x, [-1, 3, 2]), [0, 2, 1], name="y"),
    "division": lambda x: tf.divide(x, 255.0, name="y"),
    "normalised": lambda x: tf.identity(normalised(x), name="y"),
    "waits for a constant": lambda x: tf.identity(waiting(x), name="y"),
    "loop": lambda x: tf.map_fn(tf.reduce_sum, x, name="y_of") + 0.0,
}


def frozen(build: Build, path: Path, width: int | None = 6) -> Path:
    """Writes a frozen graph from `x` to `y`, [images, width] and what `build` makes of it."""
    with tf.Graph().as_default() as graph:
        y = build(tf.placeholder(tf.float32, [None, width], name="x"))
        if y.op.name != "y":
            tf.identity(y, name="y")
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def answers_of(path: Path, batch: Any) -> Any:
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        tf.import_graph_def(tf.GraphDef.FromString(path.read_bytes()), name="")
        return session.run("y:0", {"x:0": batch})


def adopted(path: Path, folder: Path, **options: Any) -> Conversion:
    folder.mkdir()
    request = AdoptionRequest("m", None, path.name, outputs=("y",), **options)
    done = adopt(AdoptionSpec(path, request), folder, lambda _: None)
    return replace(done, parity=prove(done, folder, lambda _: None))


def served(store: ArtifactStore) -> Servable:
    """Returns version 1 of `m`, with two cards and batches of up to 8."""
    engines = TensorFlowEngines(parse_devices("cpu:2"), cores=2)
    loaded = Loader(store, engines).load("m", 1, LoadOptions(8, replicate=True))
    settings = ModelSettings(batch_limit=8)
    return Servable(loaded, ModelRules(ModelDefaults(), ModelsFile({"m": settings})).limits("m"))


def asked(servable: Servable, batch: Any, card: int = 0) -> Any:
    name = servable.cards[card].spec.tower.inputs[0].name
    answer = submit(servable.cards[card], {name: batch}).result(60)
    return next(iter(answer.outputs.values()))


@pytest.mark.parametrize("kind", KINDS)
def test_an_adopted_graph_answers(kind: str, store: ArtifactStore, tmp_path: Path) -> None:
    path = frozen(KINDS[kind], tmp_path / "graph.pb")
    done = adopted(path, tmp_path / "out")
    assert done.rows_proven
    assert done.parity.rows_by_runs == (("y",) if kind == "loop" else ())
    store.publish("m", done, tmp_path / "out" / done.graph.file_name)
    servable = served(store)
    assert servable.cards[0].spec.packs
    for card in (0, 1):
        for count in (1, 2, 3, 4):
            wanted = answers_of(path, INPUTS[:count])
            np.testing.assert_allclose(
                asked(servable, INPUTS[:count], card), wanted, rtol=0, atol=1e-6
            )
    servable.close()


@pytest.mark.parametrize("cards", [1, 2])
@pytest.mark.parametrize("kind", ["argmax", "reshape", "mean", "transpose", "division"])
def test_a_converted_training_graph_answers(
    kind: str, cards: int, store: ArtifactStore, tmp_path: Path
) -> None:
    def training() -> None:
        KINDS[kind](dense(tf.placeholder(tf.float32, [None, 6], name="x"), 6, "layer"))

    def inference() -> dict[str, Any]:
        return {"y": KINDS[kind](dense(tf.placeholder(tf.float32, [None, 6], "x"), 6, "layer"))}

    saved = save(tmp_path, training, inference, feeds={"x": INPUTS})
    out = tmp_path / "out"
    done = converted(saved.prefix, out, cards=cards, inputs=["x"], outputs=["y"])
    store.publish("m", done, out / done.graph.file_name)
    servable = served(store)
    for card in servable.cards:
        found = asked(servable, INPUTS, card.index)
        np.testing.assert_allclose(found, saved.wanted["y"], rtol=0, atol=1e-5)
    servable.close()


def mask(x: Any) -> Any:
    return tf.boolean_mask(tf.expand_dims(x, 2), x > 0)


def test_rows_that_are_not_the_images_are_not_published(tmp_path: Path) -> None:
    path = frozen(mask, tmp_path / "graph.pb")
    with pytest.raises(errors.Unconvertible, match=r"--unbatched.*y: .*data: .*Where"):
        adopted(path, tmp_path / "out")


def test_what_only_runs_show_is_refused_too(tmp_path: Path) -> None:
    def by_step(x: Any) -> Any:
        return tf.transpose(tf.map_fn(lambda row: row * 2, x))

    with pytest.raises(errors.Unconvertible, match=r"answers 1 images with float32 \[\d+, 1\]"):
        adopted(frozen(by_step, tmp_path / "graph.pb", None), tmp_path / "out")


def test_unbatched_outputs_come_whole_and_never_share(store: ArtifactStore, tmp_path: Path) -> None:
    path = frozen(mask, tmp_path / "graph.pb")
    done = adopted(path, tmp_path / "out", unbatched=True)
    assert done.graph.file_name == "unbatched_frozen_model.pb"
    store.publish("m", done, tmp_path / "out" / done.graph.file_name)
    servable = served(store)
    card = servable.cards[0]
    assert (card.spec.packs, card.spec.whole) == (False, True)
    rows = [asked(servable, INPUTS[one : one + 1]) for one in range(4)]
    together = asked(servable, INPUTS)
    assert len({len(one) for one in rows}) > 1
    np.testing.assert_array_equal(together, np.concatenate(rows))
    np.testing.assert_array_equal(together, answers_of(path, INPUTS))
    servable.close()


@pytest.mark.parametrize(
    ("build", "packs"), [(mask, False), (KINDS["reshape"], True), (KINDS["loop"], True)],
    ids=["mask", "reshape", "loop"],
)  # fmt: skip
def test_an_artifact_without_a_proof_of_its_rows_is_looked_at_when_it_is_loaded(
    build: Build, store: ArtifactStore, tmp_path: Path, *, packs: bool
) -> None:
    path = frozen(build, tmp_path / "graph.pb")
    done = adopted(path, tmp_path / "out", unbatched=True)
    outputs = tuple(replace(spec, shape=(-1, *spec.shape[1:])) for spec in done.towers[0].outputs)
    # As earlier releases published it.
    old = replace(done, unbatched=False, towers=(replace(done.towers[0], outputs=outputs),))
    store.publish("m", old, tmp_path / "out" / done.graph.file_name)
    servable = served(store)
    assert servable.cards[0].spec.packs is packs
    np.testing.assert_allclose(asked(servable, INPUTS), answers_of(path, INPUTS), rtol=0, atol=1e-6)
    servable.close()


def one_image(path: Path) -> Path:
    """Writes a graph that has no batch inside: it can be fed one image alone."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [1, 6], name="x")
        tf.reshape(tf.squeeze(x, [0]) * 2, [1, 6], name="y")
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def test_a_graph_for_one_image_gets_the_images_of_a_request_one_by_one(
    store: ArtifactStore, tmp_path: Path
) -> None:
    done = adopted(one_image(tmp_path / "graph.pb"), tmp_path / "out")
    assert done.max_batch == 1
    store.publish("m", done, tmp_path / "out" / done.graph.file_name)
    servable = served(store)
    assert servable.cards[0].spec.max_batch == 1
    np.testing.assert_array_equal(asked(servable, INPUTS), INPUTS * 2)
    servable.close()


def test_kept_dropouts_are_served_and_never_packed(store: ArtifactStore, tmp_path: Path) -> None:
    path = frozen(lambda x: tf.nn.dropout(x, rate=0.5), tmp_path / "graph.pb")
    done = adopted(path, tmp_path / "out", parameters={"keep_dropout": True})
    store.publish("m", done, tmp_path / "out" / done.graph.file_name)
    servable = served(store)
    assert not servable.cards[0].spec.packs
    first, second = (asked(servable, INPUTS) for _ in range(2))
    assert (first != second).any()
    assert ((first == 0) | np.isclose(first, INPUTS * 2)).all()
    servable.close()


def twice_as_large(path: Path) -> Path:
    """Writes a graph that adds an image and one of twice its size."""
    with tf.Graph().as_default() as graph:
        small = tf.placeholder(tf.float32, [None, None, None, 1], name="small")
        large = tf.placeholder(tf.float32, [None, None, None, 1], name="large")
        joined = tf.nn.max_pool2d(large, 2, 2, "VALID") + small
        tf.reduce_mean(joined, [1, 2, 3], name="y")
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def test_sizes_that_hang_together_are_those_of_the_probe_for_the_service_too(
    store: ArtifactStore, tmp_path: Path
) -> None:
    path = twice_as_large(tmp_path / "graph.pb")
    probe = {
        "small": np.ones((2, 4, 6, 1), np.float32),
        "large": np.ones((2, 8, 12, 1), np.float32),
    }
    with pytest.raises(errors.Unconvertible):
        adopted(path, tmp_path / "without")
    done = adopted(path, tmp_path / "out", probe=probe)
    store.publish("m", done, tmp_path / "out" / done.graph.file_name)
    servable = served(store)
    shapes = {name: zeros.shape for name, zeros in servable.cards[0].spec.blank.items()}
    assert shapes == {"small": (1, 4, 6, 1), "large": (1, 8, 12, 1)}
    servable.close()
