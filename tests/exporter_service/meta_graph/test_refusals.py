"""What users of such converters run into: each is a sentence that names the node."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

from service_kit import errors
from tests.support import training_graphs as zoo
from tests.support.digits import GOLDEN
from tests.support.meta_graph_conversions import FLAT, answered, batches, check, converted
from tests.support.training_graphs import Saved, save


def plain(extra: Callable[[Any, Any], Any] = lambda x, probs: None) -> Callable[[], None]:
    """A training graph of one layer on tf.data, with something beside it."""

    def train() -> None:
        x, labels = batches((12,))
        logits = zoo.dense(x, 3, "out")
        probs = tf.nn.softmax(logits, name="probs")
        step = zoo.minimize(logits, labels)
        tf.identity(step.name, name="unused_name")
        extra(x, probs)

    return train


def infer() -> Any:
    x = tf.placeholder(tf.float32, [None, 12], name="input")
    return {"probs": tf.nn.softmax(zoo.dense(x, 3, "out"))}


def saved(folder: Path, extra: Callable[[Any, Any], Any] = lambda x, probs: None) -> Saved:
    return save(folder, plain(extra), infer, {"input": FLAT})


def refused(prefix: Path, folder: Path, **parameters: Any) -> str:
    with pytest.raises(errors.Unconvertible) as caught:
        converted(prefix, folder, **parameters)
    return str(caught.value)


def changed(prefix: Path, change: Callable[[Any], None]) -> None:
    """Edits the `.meta` beside a checkpoint."""
    path = prefix.with_name(prefix.name + ".meta")
    meta = MetaGraphDef.FromString(path.read_bytes())
    change(meta)
    path.write_bytes(meta.SerializeToString())


@pytest.mark.parametrize("output", ["probs", "probs:0", "alias=probs:0"])
def test_an_output_is_named_with_or_without_its_number(tmp_path: Path, output: str) -> None:
    done = converted(saved(tmp_path).prefix, tmp_path / "out", outputs=[output])
    assert done.towers[0].outputs[0].name == output.rpartition("=")[0] or "probs"
    assert done.towers[0].outputs[0].tensor_name == "probs:0"


def test_a_name_that_is_not_there_comes_with_the_nearest(tmp_path: Path) -> None:
    prefix = saved(tmp_path).prefix
    words = refused(prefix, tmp_path / "out", outputs=["prob"])
    assert "no tensor prob:0 to take as output; nearest are" in words
    assert "probs" in words
    words = refused(prefix, tmp_path / "out", inputs=["iteratorgetnext"])
    assert "nearest are IteratorGetNext" in words
    words = refused(prefix, tmp_path / "out", outputs=["probs:1"])
    assert "probs has 1 outputs, so there is no output probs:1" in words


def test_several_candidates_and_no_placeholder_are_listed(tmp_path: Path) -> None:
    def heads(x: Any, probs: Any) -> None:
        tf.nn.softmax(zoo.dense(x, 4, "other"), name="other_probs")

    words = refused(saved(tmp_path, heads).prefix, tmp_path / "out")
    assert "which tensor is the answer?" in words
    assert "other_probs:0 (Softmax)" in words
    assert "probs:0 (Softmax)" in words


def test_an_iterator_that_is_left_is_named(tmp_path: Path) -> None:
    def labels_too(x: Any, probs: Any) -> None:
        labels = tf.get_default_graph().get_tensor_by_name("IteratorGetNext:1")
        tf.multiply(probs, tf.cast(labels, tf.float32)[:, None], name="masked")

    prefix = saved(tmp_path, labels_too).prefix
    words = refused(prefix, tmp_path / "out", outputs=["masked"], inputs=["IteratorGetNext"])
    assert "also depend on 1: IteratorGetNext:1 (IteratorGetNext, int32 [-1])" in words


def test_an_update_that_reaches_the_output_is_named(tmp_path: Path) -> None:
    def counted(x: Any, probs: Any) -> None:
        counter = tf.get_variable("counter", [], use_resource=False, trainable=False)
        tf.add(probs, tf.assign_add(counter, 1.0), name="counted")

    words = refused(saved(tmp_path, counted).prefix, tmp_path / "out", outputs=["counted"])
    assert "AssignAdd (AssignAdd, an optimizer or an update)" in words
    assert "do not depend on a training step" in words


def test_randomness_that_is_no_dropout_is_named(tmp_path: Path) -> None:
    def noisy(x: Any, probs: Any) -> None:
        tf.add(probs, tf.random_normal(tf.shape(probs)), name="noisy")

    words = refused(saved(tmp_path, noisy).prefix, tmp_path / "out", outputs=["noisy"])
    assert "random_normal/RandomStandardNormal (RandomStandardNormal, random)" in words


def test_a_python_function_that_reaches_the_output_is_named(tmp_path: Path) -> None:
    def python(x: Any, probs: Any) -> None:
        tf.identity(tf.py_func(lambda a: a, [probs], tf.float32), name="from_python")

    words = refused(saved(tmp_path, python).prefix, tmp_path / "out", outputs=["from_python"])
    assert "PyFunc (PyFunc, a Python function, which is not in the file)" in words


def test_batch_statistics_without_an_update_are_refused_unless_asked_for(tmp_path: Path) -> None:
    def normalised(x: Any, probs: Any) -> None:
        mean, variance = tf.nn.moments(x, [0])
        normal = tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3)
        tf.nn.softmax(zoo.dense(normal, 3, "out"), name="by_batch")

    prefix = saved(tmp_path, normalised).prefix
    words = refused(prefix, tmp_path / "out", outputs=["by_batch"])
    assert "depend on the other images of a batch: 2: moments/mean" in words
    done = converted(prefix, tmp_path / "out", outputs=["by_batch"], keep_batch_statistics=True)
    assert "batch norms normalise by the batch, as asked" in done.warnings[0]
    assert "batch statistics were kept as asked" in done.parity.not_compared[0]


def test_a_fused_batch_norm_without_its_update_is_named(tmp_path: Path) -> None:
    def train() -> None:
        x, labels = batches()
        logits = zoo.dense(tf.reduce_mean(zoo.fused(x, "bn", training=True), [1, 2]), 3, "out")
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels)

    def by_hand() -> Any:
        x = tf.placeholder(tf.float32, [None, 8, 8, 3], name="input")
        x = zoo.fused(x, "bn", training=False)
        return {"probs": tf.nn.softmax(zoo.dense(tf.reduce_mean(x, [1, 2]), 3, "out"))}

    images = np.ones((1, 8, 8, 3), np.float32)
    prefix = save(tmp_path, train, by_hand, {"input": images}).prefix

    def without_updates(meta: Any) -> None:
        kept = [node for node in meta.graph_def.node if not node.name.startswith("bn/AssignSub")]
        kept = [node for node in kept if not any("AssignSub" in text for text in node.input)]
        del meta.graph_def.node[:]
        meta.graph_def.node.extend(kept)

    changed(prefix, without_updates)
    words = refused(prefix, tmp_path / "out")
    assert "bn/FusedBatchNormV3 (it normalises by the batch, and no update of moving" in words


def test_statistics_that_were_never_updated_are_warned_of(tmp_path: Path) -> None:
    def train() -> None:
        x, labels = batches()
        logits = zoo.dense(tf.reduce_mean(zoo.fused(x, "bn", training=True), [1, 2]), 3, "out")
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels)

    with tf.Graph().as_default(), tf.Session() as session:
        train()
        for one in tf.global_variables():
            start = np.ones if one.op.name.endswith("moving_variance") else np.zeros
            value = start(one.shape.as_list(), one.dtype.base_dtype.as_numpy_dtype)
            session.run(one.initializer, {one.initializer.inputs[1]: value})
        prefix = tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    done = converted(Path(prefix), tmp_path / "out")
    assert (
        "still at their initial 0 or 1: 2: bn/moving_mean, bn/moving_variance" in done.warnings[0]
    )


def test_an_unknown_op_is_named_where_it_reaches_the_output_and_pruned_elsewhere(
    tmp_path: Path,
) -> None:
    def beside(x: Any, probs: Any) -> None:
        tf.identity(x, name="odd")
        tf.identity(probs, name="odder")

    one = saved(tmp_path, beside)

    def unknown(meta: Any) -> None:
        for node in meta.graph_def.node:
            if node.name in {"odd", "odder"}:
                node.op = "OpOfAnotherLibrary"

    changed(one.prefix, unknown)
    check(one, tmp_path / "out", {"input": FLAT}, outputs=["probs"])
    words = refused(one.prefix, tmp_path / "out", outputs=["odder"])
    assert "ops that this TensorFlow does not have: 1: odder (OpOfAnotherLibrary)" in words


def test_variables_that_are_not_in_the_checkpoint_are_named_with_a_rewrite(tmp_path: Path) -> None:
    one = saved(tmp_path)
    moved = tmp_path / "moved"
    moved.mkdir()
    reader = tf.train.NewCheckpointReader(str(one.prefix))
    with tf.Graph().as_default(), tf.Session() as session:
        made = {
            f"tower_0/{key}": tf.Variable(reader.get_tensor(key), use_resource=False)
            for key in reader.get_variable_to_shape_map()
        }
        session.run([variable.initializer for variable in made.values()])
        tf.train.Saver(made).save(session, str(moved / "model.ckpt-7"), write_meta_graph=False)
    shutil.copy(f"{one.prefix}.meta", moved / "model.ckpt-7.meta")
    words = refused(moved / "model.ckpt-7", tmp_path / "out")
    assert "missing 2: out/b, out/w" in words
    assert "--key-map '^tower_0/='" in words
    from exporter_service.checkpoints.key_rewrites import KeyRewrite

    done = converted(
        moved / "model.ckpt-7", tmp_path / "out", order={"key_map": (KeyRewrite("^tower_0/", ""),)}
    )
    outputs = answered(done, tmp_path / "out", {"input": FLAT})
    np.testing.assert_allclose(outputs[0]["probs"], one.wanted["probs"], atol=1e-5)


def test_half_of_the_averages_are_a_warning_or_an_error(tmp_path: Path) -> None:
    def train() -> None:
        x, labels = batches((12,))
        logits = zoo.dense(x, 3, "out")
        tf.nn.softmax(logits)
        zoo.minimize(logits, labels, average=False)
        tf.train.ExponentialMovingAverage(0.9).apply(tf.trainable_variables()[:1])

    one = save(tmp_path, train, infer, {"input": FLAT})
    done = check(one, tmp_path / "out", {"input": FLAT})
    assert "averaged and other values are mixed: of 2 trainable variables" in done.warnings[0]
    with pytest.raises(errors.MovingAverageMissing, match=r"of 2 trainable variables .*1: out/b"):
        converted(one.prefix, tmp_path / "out", moving_average="REQUIRED")


def test_a_meta_that_is_missing_says_what_fits_without_it(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "ckpt_ema", tmp_path / "run")
    (tmp_path / "run" / "model.ckpt-300.meta").unlink()
    words = refused(tmp_path / "run" / "model.ckpt-300", tmp_path / "out")
    assert "model.ckpt-300.meta cannot be read: No such file" in words
    assert "Its keys fit densenet " in words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds 0 nodes"),
        (b"\xff" * 100, "is no meta graph, or is cut off"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (np.random.default_rng(0).bytes(10_000_000), "is no meta graph, or is cut off"),
        ((GOLDEN / "ckpt_ema" / "model.ckpt-300.meta").read_bytes()[:100_000], "cut off"),
    ],
    ids=["empty", "noise", "lfs", "large noise", "truncated"],
)
def test_a_meta_that_is_none_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    shutil.copytree(GOLDEN / "ckpt_ema", tmp_path / "run")
    (tmp_path / "run" / "model.ckpt-300.meta").write_bytes(content)
    assert words in refused(tmp_path / "run" / "model.ckpt-300", tmp_path / "out")


def test_a_function_library_that_is_a_circle_is_refused(tmp_path: Path) -> None:
    one = saved(tmp_path)

    def circle(meta: Any) -> None:
        for name, other in (("a", "b"), ("b", "a")):
            function = meta.graph_def.library.function.add()
            function.signature.name = name
            function.signature.input_arg.add(name="x", type=1)
            function.signature.output_arg.add(name="y", type=1)
            call = function.node_def.add(name="call", op="PartitionedCall", input=["x"])
            call.attr["f"].func.name = other
            call.attr["Tin"].list.type.append(1)
            call.attr["Tout"].list.type.append(1)
            function.ret["y"] = "call:output:0"
        node = meta.graph_def.node.add(name="round", op="PartitionedCall", input=["probs"])
        node.attr["f"].func.name = "a"
        node.attr["Tin"].list.type.append(1)
        node.attr["Tout"].list.type.append(1)

    changed(one.prefix, circle)
    assert "circle" in refused(one.prefix, tmp_path / "out", outputs=["round"])
    check(one, tmp_path / "out", {"input": FLAT}, outputs=["probs"])


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"inputs": ["a b"]}, "inputs.0: String should match pattern"),
        ({"nonsense": 1}, "nonsense: Extra inputs are not permitted; it takes bindings"),
        ({"outputs": ["probs", "probs:0"]}, "named twice as output"),
        ({"bindings": {"nowhere": 1}}, "no tensor nowhere:0"),
        ({"inputs": ["out/MatMul"], "outputs": ["IteratorGetNext"]}, "do not depend on"),
        ({"shapes": {"input": [-1, 9]}}, "and cannot be [-1, 9]"),
    ],
)
def test_parameters_that_do_not_fit_are_named(
    tmp_path: Path, parameters: dict[str, Any], words: str
) -> None:
    prefix = saved(tmp_path).prefix
    with pytest.raises(errors.PbserveError) as caught:
        converted(prefix, tmp_path / "out", **parameters)
    assert words in str(caught.value)


def test_a_file_that_is_read_in_the_graph_is_refused(tmp_path: Path) -> None:
    def reading(x: Any, probs: Any) -> None:
        text = tf.io.read_file("/etc/passwd")
        number = tf.cast(tf.strings.length(text), tf.float32)
        tf.add(probs, number, name="with_file")

    words = refused(saved(tmp_path, reading).prefix, tmp_path / "out", outputs=["with_file"])
    assert "ReadFile (ReadFile, reaches files or processes)" in words


@pytest.mark.parametrize("fault", ["no inputs", "no attributes", "dangling"])
def test_a_malformed_graph_is_named_as_such(tmp_path: Path, fault: str) -> None:
    prefix = saved(tmp_path).prefix

    def spoil(meta: Any) -> None:
        for node in meta.graph_def.node:
            if node.name == "out/MatMul":
                if fault == "no inputs":
                    del node.input[:]
                elif fault == "no attributes":
                    node.attr.clear()
                else:
                    node.input[0] = "nowhere"

    changed(prefix, spoil)
    assert refused(prefix, tmp_path / "out", outputs=["probs"])
