from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.formats import extra_format
from exporter_service.formats.onnx_model import answers_of_onnx, write_onnx
from service_kit import errors
from tests.exporter_service.formats.frozen_graphs import Build, digits, frozen
from tests.exporter_service.formats.graph_kinds import KINDS
from tests.support.digits import PARITY, expected

Feeds = dict[str, Any]


def dimensions(value: Any) -> list[str | int]:
    return [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("cards", [1, 2])
def test_the_digits_keep_their_numbers(cards: int, tmp_path: Path) -> None:
    graph = digits(cards)
    images = expected()["images"].astype(np.float32)
    path = write_onnx(graph.graph_def, graph.towers, tmp_path)
    assert path == tmp_path / "model.onnx"
    (found,) = answers_of_onnx(tmp_path, graph.towers, {"input": images})
    reference = graph.answers({"input": images})[0]
    np.testing.assert_allclose(found["probs"], reference["probs"], rtol=0, atol=PARITY)
    np.testing.assert_allclose(found["probs"], expected()["probs_ema"], rtol=0, atol=PARITY)


def test_its_border_is_that_of_one_tower_with_a_free_batch(tmp_path: Path) -> None:
    graph = digits(2)
    model = onnx.load(write_onnx(graph.graph_def, graph.towers, tmp_path))
    onnx.checker.check_model(model, full_check=True)
    (images,) = model.graph.input
    (probs,) = model.graph.output
    assert (images.name, dimensions(images)) == ("input", ["batch", 32, 32, 3])
    assert (probs.name, dimensions(probs)) == ("probs", ["batch", 10])
    assert not any("Card_1" in node.name for node in model.graph.node)


@pytest.mark.parametrize(("build", "feeds"), KINDS.values(), ids=KINDS)
def test_graphs_of_every_kind_keep_their_numbers(
    build: Build, feeds: Feeds, tmp_path: Path
) -> None:
    graph = frozen(build)
    write_onnx(graph.graph_def, graph.towers, tmp_path)
    (found,) = answers_of_onnx(tmp_path, graph.towers, feeds)
    (reference,) = graph.answers(feeds)
    assert found.keys() == reference.keys()
    for name, array in reference.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=PARITY)


def test_free_sizes_that_are_no_batch_are_named_by_tensor_and_position(tmp_path: Path) -> None:
    graph = frozen(KINDS["images_of_any_size"][0])
    model = onnx.load(write_onnx(graph.graph_def, graph.towers, tmp_path))
    assert dimensions(model.graph.input[0]) == ["batch", "images_1", "images_2", 3]


def unknown_ops() -> tuple[Feeds, Feeds]:
    values = tf.placeholder(tf.float32, [None, 4], name="input")
    gamma = tf.math.igamma(values, values, name="gamma")
    _, looped = tf.while_loop(
        lambda step, _: step < 3,
        lambda step, state: (step + 1, tf.math.betainc(state, state, state, name="beta")),
        [tf.constant(0), values],
    )
    return {"values": values}, {"gamma": gamma, "looped": tf.identity(looped)}


def test_all_ops_without_a_counterpart_are_named_and_nothing_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = frozen(unknown_ops)
    with pytest.raises(
        errors.Unconvertible, match=r"these ops: 2: Betainc \(while/beta\), Igamma \(gamma\)$"
    ):
        write_onnx(graph.graph_def, graph.towers, tmp_path)
    assert not list(tmp_path.iterdir())
    assert "gamma" not in "".join(capfd.readouterr())


def test_an_op_that_fails_to_convert_is_refused_with_the_reason(tmp_path: Path) -> None:
    # Transpose is an op of ONNX too: what the failure leaves behind looks converted.
    def build() -> tuple[Feeds, Feeds]:
        values = tf.placeholder(tf.float32, [None, 4], name="values")
        order = tf.placeholder(tf.int32, [2], name="order")
        turned = tf.transpose(values, order, name="turned")
        return {"values": values, "order": order}, {"turned": turned}

    graph = frozen(build)
    with pytest.raises(
        errors.Unconvertible, match=r"convert node 'turned': .*perm can't be dynamic"
    ):
        write_onnx(graph.graph_def, graph.towers, tmp_path)


def test_a_graph_that_the_converter_does_not_take_is_refused(tmp_path: Path) -> None:
    graph = digits(1)
    with pytest.raises(errors.Unconvertible, match="tf2onnx cannot convert this graph: input is"):
        write_onnx(tf.GraphDef(), graph.towers, tmp_path)


def test_an_input_called_like_an_output_is_refused_with_its_name(tmp_path: Path) -> None:
    def build() -> tuple[Feeds, Feeds]:
        state = tf.placeholder(tf.float32, [None, 4], name="before")
        return {"state": state}, {"state": tf.nn.relu(state)}

    graph = frozen(build)
    with pytest.raises(errors.Unconvertible, match="same name; here 1: state"):
        write_onnx(graph.graph_def, graph.towers, tmp_path)


def test_what_onnx_runtime_does_not_run_is_refused_with_its_reason(tmp_path: Path) -> None:
    def build() -> tuple[Feeds, Feeds]:
        images = tf.placeholder(tf.float64, [None, 8, 8, 3], name="input")
        kernel = np.ones((3, 3, 3, 1))
        return {"images": images}, {"map": tf.nn.conv2d(images, kernel, 1, "SAME")}

    graph = frozen(build)
    write_onnx(graph.graph_def, graph.towers, tmp_path)
    with pytest.raises(errors.Unconvertible, match=r"ONNX Runtime cannot run .*Conv"):
        answers_of_onnx(tmp_path, graph.towers, {"images": np.ones((1, 8, 8, 3))})


def test_without_the_extra_it_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = digits(1)
    monkeypatch.setattr(extra_format, "find_spec", lambda name: None if name != "onnx" else name)
    missing = r"needs tf2onnx, onnxruntime.*: pip install 'pbserve\[onnx\]'"
    with pytest.raises(errors.Unconvertible, match=missing):
        write_onnx(graph.graph_def, graph.towers, tmp_path)
    with pytest.raises(errors.Unconvertible, match=missing):
        answers_of_onnx(tmp_path, graph.towers, {})
