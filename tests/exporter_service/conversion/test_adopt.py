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
