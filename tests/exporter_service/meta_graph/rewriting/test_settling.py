"""Graphs that assign what they read, converted, and compared with sessions that assign nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from service_kit import errors
from service_kit.artifacts.manifest import Conversion
from tests.support import stateful_graphs as nets
from tests.support.meta_graph_conversions import CLOSE, answered, converted
from tests.support.stateful_graphs import STATE, STORED, Build
from tests.support.training_graphs import control_flow

RESOURCES = pytest.mark.parametrize("resource", [False, True], ids=["reference", "resource"])
ROWS = np.random.default_rng(4).normal(size=(4, 6)).astype(np.float32)


class Trained:
    """A net that has run, its checkpoint, and a session that has restored it."""

    def __init__(self, folder: Path, build: Callable[[Any], Any], batch: int | None = 2) -> None:
        """Builds the net in a graph of its own and lets it see a few batches."""
        self.graph = tf.Graph()
        random = np.random.default_rng(1)
        with self.graph.as_default():
            tf.set_random_seed(7)
            x = tf.placeholder(tf.float32, [batch, 6], name="x")
            tf.identity(build(x), name="answer")
            self.session = tf.Session()
            self.session.run(tf.global_variables_initializer())
            for _ in range(3):
                rows = random.normal(size=(batch or 4, 6))
                self.session.run("answer:0", {"x:0": rows})
            saver = tf.train.Saver(tf.global_variables())
            self.prefix = Path(saver.save(self.session, str(folder / "model.ckpt")))

    def value(self, tensor: str, rows: Any = ROWS) -> Any:
        """Returns a tensor's value with what was saved."""
        return self.session.run(tensor, {"x:0": rows})

    def convert(self, folder: Path, **parameters: Any) -> Conversion:
        return converted(self.prefix, folder, outputs=["answer=answer"], **parameters)

    def refusal(self, folder: Path, **parameters: Any) -> str:
        with pytest.raises(errors.Unconvertible) as caught:
            self.convert(folder, **parameters)
        return str(caught.value)


def trained(folder: Path, build: Build, *, resource: bool, batch: int | None = 2) -> Trained:
    return Trained(folder, lambda x: build(x, resource), batch)


def answer_of(done: Conversion, folder: Path, rows: Any = ROWS) -> Any:
    return answered(done, folder, {"input": rows})[0]["answer"]


@RESOURCES
@pytest.mark.parametrize(
    "case",
    ["unfused batch norm", "zero-debiased average", "spectral norm", "codebook", "by hand",
     "momentum by hand", "not listed, optimizer", "counter"],
)  # fmt: skip
def test_the_stored_value_answers(tmp_path: Path, case: str, *, resource: bool) -> None:
    build, _ = STORED[case]
    net = trained(tmp_path, build, resource=resource, batch=None)
    done = net.convert(tmp_path / "out")
    rows = ROWS[:2]
    plain = "answer:0" if case == "not listed, optimizer" else "plain:0"
    wanted = net.value(plain, rows)
    np.testing.assert_allclose(answer_of(done, tmp_path / "out", rows), wanted, atol=CLOSE)


@RESOURCES
@pytest.mark.parametrize("kind", ["moving", "last", "by hand", "of weights"])
def test_the_result_of_an_assignment_becomes_the_stored_value(
    tmp_path: Path, kind: str, *, resource: bool
) -> None:
    case = {"moving": "fake quant, moving", "last": "fake quant, last",
            "by hand": "range by hand", "of weights": "range of weights"}[kind]  # fmt: skip
    net = trained(tmp_path, STORED[case][0], resource=resource, batch=None)
    stored = net.session.run(net.graph.get_tensor_by_name("s/Read/ReadVariableOp:0")
                             if resource else "s:0")  # fmt: skip
    weights = net.session.run("w/Read/ReadVariableOp:0" if resource else "w:0")
    done = net.convert(tmp_path / "out")
    with tf.Graph().as_default(), tf.Session() as session:
        h = tf.tanh(tf.matmul(ROWS, weights))
        wanted = session.run(
            {
                "moving": lambda: tf.fake_quant_with_min_max_vars(h, -1.0, stored),
                "last": lambda: tf.fake_quant_with_min_max_vars(h, -1.0, stored),
                "by hand": lambda: tf.round(h / (stored / 127.0)) * (stored / 127.0),
                "of weights": lambda: tf.matmul(ROWS, weights) / stored,
            }[kind]()
        )
    np.testing.assert_allclose(answer_of(done, tmp_path / "out"), wanted, atol=CLOSE)


@RESOURCES
@pytest.mark.parametrize(
    "case", ["recurrent", "leaky integrator", "two cells", "under a condition"]
)
def test_state_is_refused_by_its_name(tmp_path: Path, case: str, *, resource: bool) -> None:
    with control_flow(1):
        words = trained(tmp_path, STATE[case], resource=resource).refusal(tmp_path / "out")
    assert "s (assigned by " in words or "(of s)" in words
    assert "--keep-stored" in words


@RESOURCES
def test_every_request_begins_with_the_initial_state(tmp_path: Path, *, resource: bool) -> None:
    net = trained(tmp_path, nets.recurrent, resource=resource)
    net.session.run(net.graph.get_operation_by_name("s/Assign"))
    wanted = np.concatenate([net.value("plain:0", ROWS[:2]), net.value("plain:0", ROWS[2:])])
    done = net.convert(tmp_path / "out", initial_state=True)
    for _ in range(2):
        # Of any size, though the graph was made for two, and each row by itself.
        np.testing.assert_allclose(answer_of(done, tmp_path / "out"), wanted, atol=CLOSE)
    one = answer_of(done, tmp_path / "out", ROWS[3:])
    np.testing.assert_allclose(one, wanted[3:], atol=CLOSE)
    assert done.meta_graph is not None
    assert done.meta_graph.initial_states == ("s",)
    assert done.moving_average.own_key_reasons == {"the checkpoint has no shadow of it": 2}


@RESOURCES
def test_the_stored_state_is_kept_on_the_users_word(tmp_path: Path, *, resource: bool) -> None:
    net = trained(tmp_path, nets.accumulated, resource=resource, batch=None)
    wanted = net.value("plain:0")
    done = net.convert(tmp_path / "out", keep_stored=["s:0"])
    np.testing.assert_allclose(answer_of(done, tmp_path / "out"), wanted, atol=CLOSE)
    assert done.meta_graph is not None
    assert done.meta_graph.kept_stored == ("s",)
    assert done.moving_average.own_key_reasons["state, kept as stored on the user's word"] == 1


@RESOURCES
def test_what_is_kept_may_stand_beside_what_begins_anew(tmp_path: Path, *, resource: bool) -> None:
    def two(x: Any) -> Any:
        h = nets.features(x, resource)
        kept, s = nets.made("kept", [5], resource), nets.made("s", [2, 5], resource, value=0.5)
        value = h * kept + s
        update = tf.group(tf.assign_add(kept, tf.reduce_sum(h, 0)), tf.assign(s, tf.tanh(h + s)))
        return nets.after(update, value)

    net = Trained(tmp_path, two)
    net.session.run(net.graph.get_operation_by_name("s/Assign"))
    wanted = net.value("plain:0", ROWS[:2])
    done = net.convert(tmp_path / "out", initial_state=True, keep_stored=["kept"])
    answer = answer_of(done, tmp_path / "out")
    np.testing.assert_allclose(answer[:2], wanted, atol=CLOSE)
    assert answer.shape == (4, 5)


@RESOURCES
@pytest.mark.parametrize("kind", ["assign", "add"])
def test_what_is_assigned_to_an_initial_state_is_seen_by_what_waits_for_it(
    tmp_path: Path, kind: str, *, resource: bool
) -> None:
    def result(x: Any) -> Any:
        h = nets.features(x, resource)
        s = nets.made("s", [2, 5], resource, value=0.5)
        change = {"assign": tf.assign, "add": tf.assign_add}[kind]
        return tf.identity(change(s, tf.tanh(h + s))) * 2.0

    net = Trained(tmp_path, result)
    net.session.run(net.graph.get_operation_by_name("s/Assign"))
    wanted = net.value("answer:0", ROWS[:2])
    done = net.convert(tmp_path / "out", initial_state=True)
    np.testing.assert_allclose(answer_of(done, tmp_path / "out")[:2], wanted, atol=CLOSE)


@pytest.mark.parametrize("kind", ["random", "rows", "places"])
def test_an_initial_state_that_is_not_one_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    def net(x: Any) -> Any:
        initial = (
            tf.random_uniform_initializer()
            if kind == "random"
            else tf.constant_initializer([[0.0] * 5, [1.0] * 5])
        )
        s = tf.get_variable("s", [2, 5], trainable=False, initializer=initial, use_resource=False)
        h = nets.features(x, resource=False)
        if kind == "places":
            return nets.after(tf.scatter_update(s, [0, 1], h), h + s)
        return nets.after(tf.assign(s, h), h + s)

    words = Trained(tmp_path, net).refusal(tmp_path / "out", initial_state=True)
    assert "use --keep-stored s" in words
    part = {
        "random": "is no constant",
        "rows": "each of the 2 places in a batch",
        "places": "along which axis is not known",
    }[kind]
    assert part in words


def test_a_name_to_keep_that_is_no_state_comes_with_at_most_three_that_are(tmp_path: Path) -> None:
    def many(x: Any) -> Any:
        h = nets.features(x, resource=False)
        states = [nets.made(f"s{number}", [2, 5], resource=False) for number in range(4)]
        value = h + tf.add_n(states)
        return nets.after(tf.group(*[tf.assign(one, h) for one in states]), value)

    net = Trained(tmp_path, many)
    words = net.refusal(tmp_path / "out", keep_stored=["w"])
    assert (
        "leave out --keep-stored w: it is no state that the outputs read, but trained by" in words
    )
    assert "they read s0, s1, s2 and 1 more" in words
    words = net.refusal(tmp_path / "out", keep_stored=["nowhere"])
    assert "leave out --keep-stored nowhere" in words
    words = net.refusal(tmp_path / "out", keep_stored=["s0", "s1", "s2", "s3"])
    assert "something else for each of the 2 places in training's batch" in words
    assert "s0 (assigned by Assign), s1 (assigned by Assign_1)" in net.refusal(tmp_path / "out")


def test_the_report_names_each_kind_of_variable(tmp_path: Path) -> None:
    net = trained(tmp_path, nets.codebook, resource=False, batch=None)
    done = net.convert(tmp_path / "out")
    assert done.moving_average.own_key_reasons == {
        "the checkpoint has no shadow of it": 1,
        "computed from averages over training's batches": 1,
    }
