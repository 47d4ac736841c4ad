from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.conversion.convert import convert
from exporter_service.graphs.graph_file import MULTI_NAME, SINGLE_NAME
from exporter_service.specs.conversion import TowerOptions
from exporter_service.specs.progress import Step
from service_kit import errors
from service_kit.artifacts.manifest import ArchitectureSpec, Conversion, MovingAverageMode
from tests.conftest import Converted
from tests.support.digits import GOLDEN, PARITY, SPEC, digits_spec, expected
from tests.support.random_checkpoint import write_random_checkpoint

AUTO, REQUIRED, OFF = MovingAverageMode.AUTO, MovingAverageMode.REQUIRED, MovingAverageMode.OFF


def frozen(path: Path) -> Any:
    return tf.GraphDef.FromString(path.read_bytes())


def answers(graph_def: Any, scope: str, images: np.ndarray) -> tuple[Any, Any]:
    """Returns logits and probabilities of a tower, found as the inputs of its softmax."""
    prefix = f"{scope}/" if scope else ""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        probs = graph.get_tensor_by_name(f"{prefix}probs:0")
        config = tf.ConfigProto(allow_soft_placement=True)
        with tf.Session(graph=graph, config=config) as session:
            fetched = session.run([probs.op.inputs[0], probs], {f"{prefix}input:0": images})
            return fetched[0], fetched[1]


@pytest.mark.parametrize("cards", [1, 2])
@pytest.mark.parametrize(
    ("checkpoint", "mode", "golden", "suffix"),
    [
        ("ckpt_ema", AUTO, "expected", "_ema"),
        ("ckpt_ema", REQUIRED, "expected", "_ema"),
        ("ckpt_ema", OFF, "expected", "_raw"),
        ("ckpt_noema", AUTO, "expected_noema", ""),
        ("ckpt_v1", AUTO, "expected_v1", ""),
        ("ckpt_sharded", AUTO, "expected", "_ema"),
        ("ckpt_sharded", OFF, "expected", "_raw"),
    ],
)
def test_every_card_answers_as_tensorflow_1_15_did(
    tmp_path: Path, checkpoint: str, mode: MovingAverageMode, golden: str, suffix: str, cards: int
) -> None:
    done = convert(digits_spec(checkpoint, mode, cards), tmp_path, lambda _: None)
    graph_def = frozen(tmp_path / done.graph.file_name)
    assert len(done.towers) == cards
    for tower in done.towers:
        logits, probs = answers(graph_def, tower.scope, expected()["images"])
        assert np.abs(logits - expected(golden)[f"logits{suffix}"]).max() < PARITY
        assert np.abs(probs - expected(golden)[f"probs{suffix}"]).max() < PARITY


@pytest.mark.parametrize(
    ("golden", "cards", "name"), [("single.pb", 1, SINGLE_NAME), ("multi.pb", 2, MULTI_NAME)]
)
def test_the_files_that_tensorflow_1_15_froze_give_the_same_answers(
    tmp_path: Path, golden: str, cards: int, name: str
) -> None:
    done = convert(digits_spec(cards=cards), tmp_path, lambda _: None)
    ours, theirs = frozen(tmp_path / name), frozen(GOLDEN / golden)
    assert done.graph.node_count == len(ours.node) == len(theirs.node)
    for tower in done.towers:
        left = answers(ours, tower.scope, expected()["images"])
        right = answers(theirs, tower.scope, expected()["images"])
        np.testing.assert_allclose(left[0], right[0], atol=PARITY)
        np.testing.assert_allclose(left[1], right[1], atol=PARITY)


def constants(path: Path) -> list[str]:
    return sorted(
        node.name
        for node in frozen(path).node
        if node.op == "Const"
        and node.name.startswith("densenet_digits/")
        and "weights" in node.name
    )


def test_several_cards_have_one_copy_of_each_weight(tmp_path: Path) -> None:
    for cards in (1, 4):
        convert(digits_spec(cards=cards), tmp_path, lambda _: None)
    assert constants(tmp_path / SINGLE_NAME) == constants(tmp_path / MULTI_NAME)
    large = [n for n in frozen(tmp_path / MULTI_NAME).node if n.ByteSize() > 1000]
    assert all(not node.name.startswith("Card_") for node in large)


def test_pins_are_kept_with_several_cards_and_cleared_with_one(tmp_path: Path) -> None:
    for cards in (1, 2):
        convert(digits_spec(cards=cards), tmp_path, lambda _: None)
    assert not any(node.device for node in frozen(tmp_path / SINGLE_NAME).node)
    devices = {node.device for node in frozen(tmp_path / MULTI_NAME).node} - {""}
    assert devices == {node.device for node in frozen(GOLDEN / "multi.pb").node} - {""}


def test_the_description_says_what_was_done(converted_ema: Converted) -> None:
    done = converted_ema.conversion
    assert done.checkpoint.global_step == 300
    assert done.checkpoint.path.endswith("ckpt_ema/model.ckpt-300")
    assert (done.moving_average.from_shadow, done.moving_average.from_own_key) == (73, 48)
    assert done.graph.size_bytes == converted_ema.path.stat().st_size
    assert done.parity.passed
    assert done.architecture.parameters["growth_rate"] == 8
    assert done.architecture.parameters["data_format"] == "NHWC"
    assert done.tool_versions["tensorflow"] == tf.__version__


@pytest.mark.parametrize("architecture", [SPEC, ArchitectureSpec("META_GRAPH", {})])
def test_class_labels_as_many_as_the_classes_are_kept_in_order(
    tmp_path: Path, architecture: ArchitectureSpec
) -> None:
    labels = tuple("9876543210")
    conversion_spec = digits_spec(
        architecture=architecture, preprocessing=None, class_labels=labels
    )
    assert convert(conversion_spec, tmp_path, lambda _: None).class_labels == labels


@pytest.mark.parametrize("architecture", [SPEC, ArchitectureSpec("META_GRAPH", {})])
def test_another_number_of_class_labels_is_refused_before_any_value_is_restored(
    tmp_path: Path, architecture: ArchitectureSpec
) -> None:
    seen: list[Step] = []
    conversion_spec = digits_spec(
        architecture=architecture, preprocessing=None, class_labels=tuple("012345678")
    )
    with pytest.raises(errors.Unconvertible, match=r"9 class labels, and .* has 10 classes; give"):
        convert(conversion_spec, tmp_path, lambda progress: seen.append(progress.step))
    assert seen == [Step.READ, Step.BUILD]


def test_the_same_order_gives_the_same_bytes(tmp_path: Path, converted_ema: Converted) -> None:
    again = convert(digits_spec(cards=2), tmp_path, lambda _: None)
    assert again.graph.sha256 == converted_ema.conversion.graph.sha256


def test_the_steps_are_reported_in_order(tmp_path: Path) -> None:
    seen: list[Step] = []
    convert(digits_spec(), tmp_path, lambda progress: seen.append(progress.step))
    assert seen == [Step.READ, Step.BUILD, Step.RESTORE, Step.FREEZE]


def refused(conversion_spec: Any, folder: Path) -> errors.PbserveError:
    with pytest.raises(errors.PbserveError) as caught:
        convert(conversion_spec, folder, lambda _: None)
    assert list(folder.iterdir()) == []
    return caught.value


def spec(**changes: Any) -> ArchitectureSpec:
    return ArchitectureSpec("densenet", {**SPEC.parameters, **changes})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (spec(classes=7), "misshapen 2: densenet_digits/logits/weights"),
        (spec(layers=[3, 4]), "misshapen"),
        (spec(layers=[3, 4, 4]), "missing 10: densenet_digits/dense_block3/conv_block4"),
        (spec(growth_rate=12), "misshapen"),
        (spec(scope="densenet"), "missing 121"),
        (ArchitectureSpec("densenet169", {"classes": 10}), "missing 846"),
    ],
)
def test_another_architecture_is_a_mismatch_that_names_the_right_one(
    tmp_path: Path, wrong: ArchitectureSpec, words: str
) -> None:
    error = refused(digits_spec(architecture=wrong), tmp_path)
    assert isinstance(error, errors.CheckpointMismatch)
    assert words in str(error)
    # Another scope is cured by either: the keys' names, or the architecture's.
    key_map = "These keys would match with --key-map '^densenet_digits/=densenet/'"
    if str(error).startswith(key_map):
        return
    assert str(error).startswith("Its keys fit densenet ")
    assert "growth_rate=8" in str(error)


def test_required_averages_that_are_absent_are_refused(tmp_path: Path) -> None:
    error = refused(digits_spec("ckpt_noema", REQUIRED), tmp_path)
    assert isinstance(error, errors.MovingAverageMissing)
    assert "of 73 trainable variables" in str(error)


def test_images_too_small_for_the_net_are_refused(tmp_path: Path) -> None:
    error = refused(digits_spec(towers=TowerOptions(image_size=(1, 1))), tmp_path)
    assert isinstance(error, errors.Unconvertible)
    assert "images of 1x1" in str(error)


def test_damaged_data_is_data_loss(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(GOLDEN / "ckpt_sharded", root)
    out.mkdir()
    shard = root / "model.ckpt-300.data-00001-of-00002"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 0xFF
    shard.write_bytes(content)
    error = refused(digits_spec(".", root=root), out)
    assert isinstance(error, errors.CheckpointCorrupt)
    assert "(shard 1)" in str(error)


def test_a_second_card_adds_at_most_3_percent_to_the_file(tmp_path: Path) -> None:
    architecture = write_random_checkpoint(tmp_path, "densenet121")
    sizes: list[Conversion] = []
    for cards in (1, 2):
        conversion_spec = digits_spec(".", AUTO, cards, architecture, root=tmp_path)
        sizes.append(convert(conversion_spec, tmp_path, lambda _: None))
    assert sizes[1].graph.size_bytes <= 1.03 * sizes[0].graph.size_bytes


@pytest.mark.parametrize(
    ("value", "dtype", "cls", "words"),
    [
        (
            float("nan"),
            "float32",
            errors.Unconvertible,
            "has diverged; NaN or infinity in 1: net/w",
        ),
        (1, "int32", errors.CheckpointMismatch, "holds int32, needs floats"),
        ("text", "string", errors.CheckpointMismatch, "holds string, needs floats"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(
    tmp_path: Path, value: Any, dtype: str, cls: type[Exception], words: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    architecture = write_random_checkpoint(tmp_path / "in", "densenet121")
    name = "densenet121/conv1/weights"
    reader = tf.train.NewCheckpointReader(str(tmp_path / "in" / "model.ckpt-1000"))
    with tf.Graph().as_default(), tf.Session() as session:
        keys = reader.get_variable_to_shape_map()
        values = {key: reader.get_tensor(key) for key in keys}
        values[name] = np.full(values[name].shape, value)
        made = {
            key: tf.Variable(
                tf.zeros(v.shape, dtype if key == name else tf.float32),
                name=key,
                use_resource=False,
            )
            for key, v in values.items()
        }
        session.run(
            [variable.initializer for variable in made.values()],
            {made[key].initializer.inputs[1]: v for key, v in values.items()},
        )
        saver = tf.train.Saver(list(made.values()))
        saver.save(session, str(tmp_path / "in" / "model.ckpt"), 2000, write_meta_graph=False)
    conversion_spec = digits_spec("model.ckpt-2000", AUTO, 1, architecture, root=tmp_path / "in")
    error = refused(conversion_spec, tmp_path / "out")
    assert type(error) is cls
    assert words.replace("net/w", "densenet121/conv1/weights") in str(error)
