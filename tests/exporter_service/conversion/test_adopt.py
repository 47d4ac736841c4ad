from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.conversion.adopt import adopt
from exporter_service.formats.extra_format import ExtraFormat
from exporter_service.parity.proof import prove
from exporter_service.specs.conversion import AdoptionRequest, AdoptionSpec
from service_kit import errors
from service_kit.artifacts.manifest import CheckpointFormat, Conversion
from tests.support.digits import GOLDEN


def adopted(graph: Path, folder: Path, **changes: Any) -> Conversion:
    folder.mkdir(exist_ok=True)
    request = AdoptionRequest("m", None, graph.name, **changes)
    done = adopt(AdoptionSpec(graph, request), folder, lambda _: None)
    return replace(done, parity=prove(done, folder, lambda _: None))


def written(path: Path, build: Any) -> Path:
    with tf.Graph().as_default() as graph:
        build()
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def towers(prefix: str, count: int) -> Any:
    def build() -> None:
        weights = tf.constant(np.eye(3, dtype=np.float32))
        for index in range(count):
            with tf.name_scope(f"{prefix}_{index}"):
                x = tf.placeholder(tf.float32, [None, 3], name="x")
                tf.nn.softmax(tf.matmul(x, weights), name="y")
                tf.reduce_sum(x, 1, name="z")

    return build


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("single.pb", ["input:0"], ["probs:0"]),
        ("multi.pb", ["Card_0/input:0", "Card_1/input:0"], ["Card_0/probs:0", "Card_1/probs:0"]),
    ],
)
def test_what_tensorflow_1_15_froze_is_adopted_as_it_is(
    tmp_path: Path, name: str, inputs: list[str], outputs: list[str]
) -> None:
    done = adopted(GOLDEN / name, tmp_path)
    assert [tower.inputs[0].tensor_name for tower in done.towers] == inputs
    assert [tower.outputs[0].tensor_name for tower in done.towers] == outputs
    assert (tmp_path / done.graph.file_name).read_bytes() == (GOLDEN / name).read_bytes()
    assert done.parity.passed
    assert done.checkpoint.format is CheckpointFormat.FROZEN_GRAPH
    assert done.towers[0].inputs[0].shape == (-1, 32, 32, 3)
    assert done.towers[-1].device in {"", "/device:GPU:1"}


def test_towers_of_any_scope_and_several_outputs_are_found(tmp_path: Path) -> None:
    graph = written(tmp_path / "g.pb", towers("replica/Lane", 3))
    done = adopted(graph, tmp_path / "out")
    assert [tower.scope for tower in done.towers] == [f"replica/Lane_{i}" for i in range(3)]
    assert [spec.name for spec in done.towers[1].outputs] == ["y", "z"]
    one = adopted(graph, tmp_path / "one", inputs=("x",), outputs=("answer=y:0",))
    assert [spec.name for spec in one.towers[2].outputs] == ["answer"]
    assert one.towers[2].outputs[0].tensor_name == "replica/Lane_2/y:0"


def test_other_formats_can_be_had_of_it(tmp_path: Path) -> None:
    done = adopted(GOLDEN / "multi.pb", tmp_path, formats=(ExtraFormat.SAVED_MODEL,))
    assert "saved_model.pb" in {file.file_name for file in done.files}


def open_ended() -> None:
    tf.nn.softmax(tf.placeholder(tf.float32, [None, None], name="x"), name="probs")


def test_class_labels_are_for_probs_or_for_the_only_output(tmp_path: Path) -> None:
    graph = written(tmp_path / "g.pb", towers("Card", 2))
    labels = ("a", "b", "a")
    for name, outputs in (("probs", ("z", "probs=y")), ("only", ("y",))):
        done = adopted(graph, tmp_path / name, outputs=outputs, class_labels=labels)
        assert done.class_labels == labels


def test_classes_of_any_number_take_any_class_labels(tmp_path: Path) -> None:
    graph = written(tmp_path / "g.pb", open_ended)
    done = adopted(graph, tmp_path / "out", class_labels=("a", "b"))
    assert (done.towers[0].outputs[0].shape, done.class_labels) == ((-1, -1), ("a", "b"))


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (("y",), "2 class labels, and the output y has 3 classes; give one label for each"),
        ((), r"several outputs \(y, z\) of which none is called probs"),
        (("z",), r"the output z of shape \[-1\] has no dimension for classes"),
    ],
)
def test_class_labels_that_do_not_fit_are_refused(
    tmp_path: Path, outputs: tuple[str, ...], words: str
) -> None:
    graph = written(tmp_path / "g.pb", towers("Card", 2))
    with pytest.raises(errors.Unconvertible, match=words):
        adopted(graph, tmp_path / "out", outputs=outputs, class_labels=("a", "b"))
    assert list((tmp_path / "out").iterdir()) == []


def unlike() -> None:
    for index in range(2):
        with tf.name_scope(f"Card_{index}"):
            x = tf.placeholder(tf.float32, [None, 3], name="x")
            tf.add(x, float(index), name="y")


def unfrozen() -> None:
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    tf.matmul(x, tf.get_variable("w", [3, 3], use_resource=False), name="y")


def random() -> None:
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    tf.add(x, tf.random_normal(tf.shape(x)), name="y")


def writing() -> None:
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    # Only a control input leads to it; it would run all the same.
    with tf.control_dependencies([tf.io.write_file("never-written.txt", "x")]):
        tf.multiply(x, 2.0, name="y")


def huge() -> None:
    tf.identity(tf.placeholder(tf.uint8, [None, 2**14, 2**14], name="x"), name="y")


def complex_numbers() -> None:
    tf.identity(tf.placeholder(tf.complex64, [None, 3], name="x"), name="y")


def by_batch() -> None:
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    tf.subtract(x, tf.reduce_mean(x, 0), name="y")


def without_input() -> None:
    tf.constant(1.0, name="y")


@pytest.mark.parametrize(
    ("build", "cls", "words"),
    [
        (unlike, errors.ParityFailed, "Card_1 with Card_0"),
        (unfrozen, errors.Unconvertible, "is not frozen: it has variables without values, 1: w"),
        (random, errors.Unconvertible, "RandomStandardNormal, random"),
        (writing, errors.Unconvertible, "WriteFile, reaches files or processes"),
        (huge, errors.Unconvertible, "cannot be served: tensor 'x:0' has shape"),
        (complex_numbers, errors.Unconvertible, "has dtype 'complex64'"),
        (by_batch, errors.ParityFailed, "in a batch with other company"),
        (without_input, errors.Unconvertible, "no placeholder: name its inputs"),
    ],
)
def test_what_cannot_be_served_is_refused(
    tmp_path: Path, build: Any, cls: type[Exception], words: str
) -> None:
    graph = written(tmp_path / "g.pb", build)
    with pytest.raises(cls, match=words):
        adopted(graph, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe" * 50, b"not a graph"])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "g.pb"
    path.write_bytes(content)
    with pytest.raises(errors.Unconvertible, match="is no frozen graph"):
        adopted(path, tmp_path / "out")


def test_a_misspelt_output_comes_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(errors.Unconvertible, match="nearest are Card_0/probs"):
        adopted(GOLDEN / "multi.pb", tmp_path, outputs=("prob",))


FEATURES = np.random.default_rng(5).uniform(-1, 1, (4, 6)).astype(np.float32)


def answers_of(done: Conversion, folder: Path, images: Any) -> Any:
    """Returns what the published graph answers."""
    with tf.Graph().as_default(), tf.Session() as session:
        content = (folder / done.graph.file_name).read_bytes()
        tf.import_graph_def(tf.GraphDef.FromString(content), name="")
        (tower,) = done.towers
        return session.run(tower.outputs[0].tensor_name, {tower.inputs[0].tensor_name: images})


def layer(x: Any, units: int, seed: int) -> Any:
    weights = np.random.default_rng(seed).normal(size=(int(x.shape[-1]), units))
    return tf.matmul(x, tf.constant(weights, tf.float32))


def dropped(keep: Any, *, training: bool = True) -> Any:
    x = tf.placeholder(tf.float32, [None, 6], name="x")
    hidden = tf.nn.relu(layer(x, 16, 1))
    if training:
        hidden = tf.nn.dropout(hidden, keep_prob=keep())
    return tf.nn.softmax(layer(hidden, 3, 2), name="probs")


def scalar(shape: Any = ()) -> Any:
    return tf.placeholder(tf.float32, shape, name="keep_prob")


def by_phase(*, training: Any) -> Any:
    x = tf.placeholder(tf.float32, [None, 6], name="x")
    hidden = layer(x, 5, 1)
    constants = tf.constant([0.1] * 5), tf.constant([2.0] * 5)
    if training is False:
        mean, variance = constants
    else:
        phase = tf.placeholder(tf.bool, training, name="is_training")
        mean, variance = tf.cond(
            phase, lambda: tuple(tf.nn.moments(hidden, [0])), lambda: constants
        )
    return tf.nn.softmax(layer(tf.nn.relu((hidden - mean) / tf.sqrt(variance)), 3, 2), name="probs")


@pytest.mark.parametrize(
    ("live", "inference", "options"),
    [
        (lambda: dropped(scalar), lambda: dropped(scalar, training=False), {}),
        (lambda: dropped(lambda: scalar(None)), lambda: dropped(scalar, training=False), {}),
        (lambda: dropped(lambda: 0.5), lambda: dropped(scalar, training=False), {}),
        (
            lambda: dropped(scalar),
            lambda: dropped(scalar, training=False),
            {"parameters": {"bindings": {"keep_prob": 1}}},
        ),
        (lambda: by_phase(training=[]), lambda: by_phase(training=False), {}),
        (lambda: by_phase(training=None), lambda: by_phase(training=False), {}),
        (
            lambda: by_phase(training=[]),
            lambda: by_phase(training=False),
            {"inputs": ("x",), "parameters": {"bindings": {"is_training": False}}},
        ),
    ],
)
def test_what_belongs_to_training_is_switched(
    tmp_path: Path, live: Any, inference: Any, options: dict[str, Any]
) -> None:
    done = adopted(written(tmp_path / "g.pb", live), tmp_path / "out", **options)
    with tf.Graph().as_default(), tf.Session() as session:
        wanted = session.run(inference(), {"x:0": FEATURES})
    np.testing.assert_allclose(answers_of(done, tmp_path / "out", FEATURES), wanted, atol=1e-6)
    assert [spec.tensor_name for spec in done.towers[0].inputs] == ["x:0"]
    assert done.meta_graph is not None
    assert done.meta_graph.dropouts_removed or done.meta_graph.bound


def scaled() -> None:
    x = tf.placeholder(tf.float32, [None, 6], name="x")
    tf.multiply(x, tf.placeholder(tf.float32, [], name="factor"), name="y")


def test_a_number_that_nothing_decides_is_asked_for_by_what_to_say(tmp_path: Path) -> None:
    graph = written(tmp_path / "g.pb", scaled)
    with pytest.raises(
        errors.Unconvertible, match=r"^give factor a value with --bind factor=VALUE"
    ):
        adopted(graph, tmp_path / "out")
    done = adopted(graph, tmp_path / "bound", parameters={"bindings": {"factor": 2.5}})
    np.testing.assert_allclose(answers_of(done, tmp_path / "bound", FEATURES), FEATURES * 2.5)
    assert done.architecture.parameters == {"bindings": {"factor": 2.5}}


def shapeless() -> None:
    x = tf.placeholder(tf.float32, None, name="x")
    tf.nn.relu(tf.nn.conv2d(x, tf.ones([3, 3, 1, 2]), 1, "SAME"), name="y")


def test_a_shape_that_the_graph_lacks_is_given(tmp_path: Path) -> None:
    graph = written(tmp_path / "g.pb", shapeless)
    with pytest.raises(
        errors.Unconvertible, match=r"^give the inputs a shape with --shape .* x:0 are not"
    ):
        adopted(graph, tmp_path / "out")
    done = adopted(graph, tmp_path / "given", parameters={"shapes": {"x": [-1, 8, 8, 1]}})
    assert done.towers[0].inputs[0].shape == (-1, 8, 8, 1)
    assert done.towers[0].outputs[0].shape == (-1, 8, 8, 2)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"z": [-1, 6]}, "name an input as one of the shapes, x: z is none"),
        ({"x": [-1, 7]}, r"x:0 is \[-1, 6\] in the graph, and cannot be \[-1, 7\]"),
        ({"x": [-1, 6, 1]}, "cannot be"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(
    tmp_path: Path, shapes: dict[str, Any], words: str
) -> None:
    graph = written(tmp_path / "g.pb", lambda: dropped(scalar, training=False))
    with pytest.raises(errors.Unconvertible, match=words):
        adopted(graph, tmp_path / "out", parameters={"shapes": shapes})


def by_one_row(batch: int | None) -> Any:
    x = tf.placeholder(tf.float32, [batch, 2, 3], name="x")
    return tf.nn.softmax(layer(tf.reshape(x, [batch or -1, 6]), 3, 1), name="probs")


def squeezed(batch: int | None) -> Any:
    x = tf.placeholder(tf.float32, [batch, 2, 3], name="x")
    return tf.nn.softmax(layer(tf.reshape(tf.squeeze(x, [0]), [1, 6]), 3, 1), name="probs")


@pytest.mark.parametrize(
    ("build", "batch", "max_batch"), [(by_one_row, 1, 0), (by_one_row, 7, 0), (squeezed, 1, 1)]
)
def test_one_size_of_batch_becomes_any_or_one_at_a_time(
    tmp_path: Path, build: Any, batch: int, max_batch: int
) -> None:
    done = adopted(written(tmp_path / "g.pb", lambda: build(batch)), tmp_path / "out")
    images = FEATURES.reshape(4, 2, 3)[: max_batch or None]
    with tf.Graph().as_default(), tf.Session() as session:
        wanted = session.run(build(1 if max_batch else None), {"x:0": images})
    np.testing.assert_allclose(answers_of(done, tmp_path / "out", images), wanted, atol=1e-6)
    assert done.max_batch == max_batch
    assert done.graph.file_name == ("one_by_one_" if max_batch else "") + "frozen_model.pb"


def test_a_probe_of_several_is_too_much_for_a_graph_of_one(tmp_path: Path) -> None:
    graph = written(tmp_path / "g.pb", lambda: squeezed(1))
    with pytest.raises(errors.InvalidRequest, match=r"give a probe of 1: .* has 4"):
        adopted(graph, tmp_path / "out", probe={"": FEATURES.reshape(4, 2, 3)})


def test_dropouts_that_are_meant_stay_and_vary(tmp_path: Path) -> None:
    graph = written(tmp_path / "g.pb", lambda: dropped(lambda: 0.5))
    done = adopted(graph, tmp_path / "out", parameters={"keep_dropout": True})
    assert done.varies
    assert done.batch_matters
    assert "answers vary" in done.parity.not_compared[0]
    with tf.Graph().as_default(), tf.Session() as session:
        content = (tmp_path / "out" / done.graph.file_name).read_bytes()
        tf.import_graph_def(tf.GraphDef.FromString(content), name="")
        first, second = (session.run("probs:0", {"x:0": FEATURES}) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3


def test_dropouts_are_not_kept_where_there_are_none(tmp_path: Path) -> None:
    graph = written(tmp_path / "g.pb", lambda: dropped(scalar, training=False))
    with pytest.raises(errors.Unconvertible, match="leave out keep_dropout"):
        adopted(graph, tmp_path / "out", parameters={"keep_dropout": True})
