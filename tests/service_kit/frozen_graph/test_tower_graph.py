from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow import function as tf_function

from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec, Tower
from service_kit.frozen_graph.tower_graph import PinnedTower, Ports, TowerGraph
from tests.support.training_graphs import control_flow

Build = Callable[[Any, int], Any]

BATCH = np.linspace(-2, 3, 12, dtype=np.float32).reshape(4, 3)
WEIGHTS = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)


def tower(index: int, inputs: Sequence[str] = ("input:0",), output: str = "probs:0") -> Tower:
    scope = f"Card_{index}"
    return Tower(
        index,
        scope,
        "",
        tuple(TensorSpec(name, f"{scope}/{name}", "float32", (-1, 3)) for name in inputs),
        (TensorSpec("probs", f"{scope}/{output}", "float32", (-1, 3)),),
    )


def two_towers(build: Build, *before: Callable[[], Any]) -> Any:
    """Returns a graph in which `build` makes `probs` of each tower's input."""
    with tf.Graph().as_default() as graph:
        for one in before:
            one()
        for index in range(2):
            with tf.name_scope(f"Card_{index}"):
                batch = tf.placeholder(tf.float32, [None, 3], name="input")
                tf.identity(build(batch, index), name="probs")
    return graph.as_graph_def()


def unchanged(batch: Any, index: int) -> Any:
    return batch


def node(graph: Any, name: str) -> Any:
    return next(one for one in graph.node if one.name == name)


def pin(graph: Any, *places: tuple[int, int]) -> tuple[Any, list[Ports]]:
    """Returns the graph with towers by index on lanes of the CPU."""
    return TowerGraph(graph).pinned(
        [PinnedTower(tower(index), f"/device:CPU:{lane}") for index, lane in places]
    )


def run(graph: Any, fetches: Sequence[str], feeds: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
    with tf.Graph().as_default() as imported:
        tf.import_graph_def(graph, name="")
    config = tf.ConfigProto(device_count={"CPU": 4}, intra_op_parallelism_threads=1)
    with tf.Session(graph=imported, config=config) as session:
        return list(session.run(list(fetches), feeds))


def plain(batch: Any, index: int) -> Any:
    hidden = tf.nn.relu(batch @ WEIGHTS + 1)
    return tf.nn.softmax(tf.concat([hidden, batch], 1) @ np.vstack([WEIGHTS, WEIGHTS]))


def condition(batch: Any, index: int) -> Any:
    with control_flow(1):
        return tf.cond(tf.reduce_sum(batch) > 0, lambda: batch * 5, lambda: batch * 7)


def loop(batch: Any, index: int) -> Any:
    with control_flow(1):
        return tf.while_loop(lambda n, _: n < 3, lambda n, x: (n + 1, x * 2), [0, batch])[1]


def loops_of_rows(batch: Any, index: int) -> Any:
    """A loop in a loop, with arrays of tensors."""
    with control_flow(1):
        return tf.map_fn(lambda row: tf.map_fn(lambda x: x * x + 1, row), batch)


def functional_loop(batch: Any, index: int) -> Any:
    with control_flow(2):
        return tf.while_loop(lambda n, _: n < 3, lambda n, x: (n + 1, x * 2), [0, batch])[1]


def function() -> Build:
    called = tf_function(lambda batch: tf.matmul(batch, WEIGHTS) + 1, autograph=False)
    return lambda batch, index: called(batch)


def two_loops(batch: Any, index: int) -> Any:
    return loop(batch, index) + loop(batch + 1, index)


def seeded(count: Callable[[int], int]) -> Build:
    """Returns noise minus noise, of one node or of two."""

    def build(batch: Any, index: int) -> Any:
        noises = [
            tf.raw_ops.RandomUniform(shape=[3], dtype=tf.float32, seed=1, seed2=2)
            for _ in range(count(index))
        ]
        return batch + noises[0] - noises[-1]

    return build


def waiting(name: Callable[[int], str]) -> Build:
    """Returns the batch after one of two other nodes has run."""

    def build(batch: Any, index: int) -> Any:
        befores = {
            "relu": tf.nn.relu(batch, name="before"),
            "elu": tf.nn.elu(batch, name="instead"),
        }
        with tf.control_dependencies([befores[name(index)]]):
            return tf.identity(batch)

    return build


@pytest.mark.parametrize(
    "build",
    [
        unchanged,
        plain,
        lambda batch, index: tf.unstack(batch, 3, axis=1)[2],
        lambda batch, index: batch + float("nan"),
        waiting(lambda index: "elu"),
        seeded(lambda index: 2),
        condition,
        loop,
        loops_of_rows,
        two_loops,
        function(),
    ],
    ids=["nothing", "net", "port", "nan", "control input", "noise", "condition", "loop", "loops",
         "two loops", "function"],
)  # fmt: skip
def test_towers_that_differ_in_names_alone_are_equal(build: Build) -> None:
    graph = TowerGraph(two_towers(build))
    for one, other in ((0, 0), (0, 1), (1, 0)):
        assert graph.are_equal(tower(one), tower(other))


@pytest.mark.parametrize(
    "build",
    [
        lambda batch, index: batch * (2 + index),
        lambda batch, index: batch @ (WEIGHTS + np.float32(index) * np.eye(3, dtype=np.float32)),
        lambda batch, index: batch + [0.0, -0.0][index],
        lambda batch, index: tf.matmul(batch, WEIGHTS, transpose_b=bool(index)),
        lambda batch, index: tf.concat([batch, batch * 2][:: 1 - 2 * index], 0),
        lambda batch, index: batch * 2 - batch if index else batch - batch * 2,
        lambda batch, index: tf.unstack(batch, 3, axis=1)[index],
        lambda batch, index: tf.nn.relu(batch) if index else tf.nn.elu(batch),
        lambda batch, index: tf.nn.relu(batch) if index else batch,
        lambda batch, index: tf.add_n([batch] * (2 + index)),
        waiting(lambda index: ["relu", "elu"][index]),
        seeded(lambda index: 1 + index),
        lambda batch, index: loop(batch * (1 + index), index),
    ],
    ids=["constant", "weights", "sign of zero", "attribute", "order", "order of two kinds", "port",
         "op", "length", "inputs", "control input", "noise", "before a loop"],
)  # fmt: skip
def test_towers_that_compute_otherwise_are_not_equal(build: Build) -> None:
    graph = TowerGraph(two_towers(build))
    assert not graph.are_equal(tower(0), tower(1))
    assert not graph.are_equal(tower(1), tower(0))


@pytest.mark.parametrize(
    ("control", "equal"), [("^Card_1/relu", True), ("^Card_1/elu", False), ("Card_1/relu", False)]
)
def test_a_control_input_is_not_a_data_input(control: str, *, equal: bool) -> None:
    def build(batch: Any, index: int) -> Any:
        tf.nn.relu(batch, name="relu")
        tf.nn.elu(batch, name="elu")
        return batch

    graph = two_towers(build)
    node(graph, "Card_0/probs").input.append("^Card_0/relu")
    node(graph, "Card_1/probs").input.append(control)
    assert TowerGraph(graph).are_equal(tower(0), tower(1)) is equal


@pytest.mark.parametrize("extra", ["input", "attribute"])
@pytest.mark.parametrize("index", [0, 1])
def test_what_only_one_tower_has_counts(extra: str, index: int) -> None:
    graph = two_towers(plain)
    one = node(graph, f"Card_{index}/probs")
    if extra == "input":
        one.input.append(f"^Card_{index}/input")
    else:
        one.attr["_of_mine"].b = True
    assert not TowerGraph(graph).are_equal(tower(0), tower(1))


@pytest.mark.parametrize("ignored", ["_class", "_output_shapes", "device"])
def test_what_says_nothing_of_the_computation_does_not_count(ignored: str) -> None:
    graph = two_towers(plain)
    for index, one in enumerate(graph.node):
        if ignored == "device":
            one.device = f"/device:GPU:{index}"
        else:
            one.attr[ignored].list.s.append(b"%d" % index)
    assert TowerGraph(graph).are_equal(tower(0), tower(1))


def test_one_loop_is_not_two() -> None:
    graph = two_towers(two_loops)
    frames = sorted({one.attr["frame_name"].s for one in graph.node if one.op == "Enter"})
    assert len(frames) == 4
    for one in graph.node:
        if one.attr["frame_name"].s == frames[3]:
            one.attr["frame_name"].s = frames[2]
    assert not TowerGraph(graph).are_equal(tower(0), tower(1))
    assert not TowerGraph(graph).are_equal(tower(1), tower(0))


def test_towers_of_other_signatures_are_not_equal() -> None:
    graph = TowerGraph(two_towers(unchanged))
    known = tower(1)
    for changed in (
        replace(known, outputs=(replace(known.outputs[0], name="logits"),)),
        replace(known, inputs=(replace(known.inputs[0], dtype="float64"),)),
        replace(known, outputs=(replace(known.outputs[0], shape=(-1, 4)),)),
        replace(known, outputs=known.outputs * 2),
        replace(known, inputs=()),
    ):
        assert not graph.are_equal(tower(0), changed)
        assert not graph.are_equal(changed, tower(0))


def test_inputs_in_another_order_are_not_equal() -> None:
    def build(batch: Any, index: int) -> Any:
        return batch - tf.placeholder(tf.float32, [None, 3], name="mean")

    graph = TowerGraph(two_towers(build))
    one, other = (tower(index, ("input:0", "mean:0")) for index in range(2))
    assert graph.are_equal(one, other)
    first, second = other.inputs
    swapped = replace(
        other,
        inputs=(
            replace(first, tensor_name=second.tensor_name),
            replace(second, tensor_name=first.tensor_name),
        ),
    )
    assert not graph.are_equal(one, swapped)
    # The same outputs of other inputs are others, too.
    assert not graph.are_equal(swapped, other)


def test_what_is_fed_is_not_its_twin_that_is_not() -> None:
    def build(batch: Any, index: int) -> Any:
        fed, not_fed = (
            tf.placeholder_with_default(tf.constant([[9.0] * 3]), [None, 3], name=name)
            for name in ("fed", "not_fed")
        )
        return fed + (fed if index else not_fed)

    graph = TowerGraph(two_towers(build))
    one, other = (tower(index, ("fed:0",)) for index in range(2))
    assert not graph.are_equal(one, other)
    assert not graph.are_equal(other, one)


def test_the_other_ports_of_a_node_that_is_fed_count() -> None:
    def build(batch: Any, index: int) -> Any:
        parts = tf.split(tf.constant([[1.0] * 3, [2.0 + index] * 3]), 2, name="parts")
        return parts[0] + parts[1]

    graph = TowerGraph(two_towers(build))
    assert not graph.are_equal(tower(0, ("parts:0",)), tower(1, ("parts:0",)))


@pytest.mark.parametrize("between", [False, True], ids=["its input", "what it makes of that"])
def test_a_tower_that_reads_what_is_fed_to_the_other_is_not_equal(*, between: bool) -> None:
    graph = two_towers(lambda batch, index: tf.nn.relu(batch, name="relu") + 1)
    node(graph, "Card_1/add").input[0] = "Card_0/relu" if between else "Card_0/input"
    assert not TowerGraph(graph).are_equal(tower(0), tower(1))
    assert not TowerGraph(graph).are_equal(tower(1), tower(0))


def test_towers_that_are_fed_through_one_node_are_not_equal() -> None:
    graph = TowerGraph(two_towers(plain))
    assert not graph.are_equal(tower(0), replace(tower(1), inputs=tower(0).inputs))


def test_towers_that_share_one_of_their_inputs_are_not_equal() -> None:
    shared: list[Any] = []
    graph = TowerGraph(
        two_towers(
            lambda batch, index: batch - shared[0],
            lambda: shared.append(tf.placeholder(tf.float32, [None, 3], name="mean")),
        )
    )
    mean = TensorSpec("mean", "mean:0", "float32", (-1, 3))
    one, other = (replace(tower(n), inputs=(*tower(n).inputs, mean)) for n in range(2))
    assert not graph.are_equal(one, other)
    assert graph.are_equal(one, one)


def test_towers_may_share_what_depends_on_no_input() -> None:
    shared: list[Any] = []
    graph = two_towers(
        lambda batch, index: batch * shared[0],
        lambda: shared.append(tf.constant([1.0, 2.0, 3.0]) + 1),
    )
    assert TowerGraph(graph).are_equal(tower(0), tower(1))


def test_a_long_chain_is_no_problem() -> None:
    graph = two_towers(unchanged)
    for index in range(2):
        previous = f"Card_{index}/input"
        for step in range(10_000):
            one = graph.node.add(name=f"Card_{index}/step_{step}", op="Identity")
            one.input.append(previous)
            one.attr["T"].type = tf.float32.as_datatype_enum
            previous = one.name
        node(graph, f"Card_{index}/probs").input[0] = previous
    assert TowerGraph(graph).are_equal(tower(0), tower(1))
    made, _ = pin(graph, (0, 0), (0, 1))
    assert len(made.node) == 2 * 10_002


def test_only_what_towers_need_is_kept_pinned_and_free_of_old_ties() -> None:
    graph = two_towers(plain, lambda: tf.constant(7.0, name="left_over"))
    tf_version = graph.versions.producer
    for one in graph.node:
        one.device = "/device:GPU:7"
        one.attr["_class"].list.s.append(b"loc:@left_over")
    made, ports = pin(graph, (1, 1), (0, 0))
    assert "left_over" not in {one.name for one in made.node}
    assert made.versions.producer == tf_version
    assert not any("_class" in one.attr for one in made.node)
    for one in made.node:
        if one.op == "Const":
            # Goes to what reads it, wherever that is.
            assert not one.device
        else:
            assert one.device == f"/device:CPU:{one.name[len('Card_')]}"
    assert ports == [
        Ports(("Card_1/input:0",), ("Card_1/probs:0",)),
        Ports(("Card_0/input:0",), ("Card_0/probs:0",)),
    ]
    # What was read stays as it was.
    assert all(one.device == "/device:GPU:7" for one in graph.node)


def test_one_tower_alone_leaves_the_other_out() -> None:
    made, _ = pin(two_towers(plain), (1, 0))
    assert all(one.name.startswith("Card_1/") for one in made.node)


def test_towers_may_be_pinned_nowhere() -> None:
    made, ports = TowerGraph(two_towers(plain)).pinned([PinnedTower(tower(0), "")] * 2)
    assert not any(one.device for one in made.node)
    assert ports[0] == ports[1]


@pytest.mark.parametrize(
    "build",
    [
        plain,
        lambda batch, index: batch * (2 + index),
        waiting(lambda index: "elu"),
        condition,
        loop,
        loops_of_rows,
        two_loops,
        functional_loop,
        function(),
    ],
    ids=["net", "constant", "control input", "condition", "loop", "loops", "two loops",
         "functional loop", "function"],
)  # fmt: skip
def test_towers_and_their_copies_compute_what_they_did(build: Build) -> None:
    graph = two_towers(build)
    places = [(0, 0), (1, 1), (0, 2), (1, 0), (0, 1), (0, 0)]
    made, ports = pin(graph, *places)
    assert len({one.name for one in made.node}) == len(made.node)
    assert ports[5] == ports[0]
    # Each alone: what the others are fed is not there.
    for (index, _), (feeds, fetches) in zip(
        places, [(port.feeds, port.fetches) for port in ports], strict=True
    ):
        before = run(graph, [f"Card_{index}/probs:0"], {f"Card_{index}/input:0": BATCH})
        np.testing.assert_array_equal(run(made, fetches, {feeds[0]: BATCH}), before)


@pytest.mark.parametrize("build", [condition, loop], ids=["condition", "loop"])
def test_copies_may_run_at_once(build: Build) -> None:
    graph = two_towers(build)
    made, ports = pin(graph, (0, 0), (0, 1), (0, 2))
    fed = {port.feeds[0]: BATCH * sign for port, sign in zip(ports, (1, -1, 3), strict=True)}
    answers = run(made, [port.fetches[0] for port in ports], fed)
    for answer, batch in zip(answers, fed.values(), strict=True):
        alone = run(graph, ["Card_0/probs:0"], {"Card_0/input:0": batch})
        np.testing.assert_array_equal(answer, alone[0])


def test_towers_that_need_parts_of_one_loop_each_have_it_on_their_device() -> None:
    made_of: list[Any] = []

    def before() -> None:
        with control_flow(1):
            made_of.extend(
                tf.while_loop(
                    lambda n, x, y: n < 3, lambda n, x, y: (n + 1, x * 2, y * 3), [0, 1.0, 1.0]
                )[1:]
            )

    graph = two_towers(lambda batch, index: batch * made_of[index], before)
    for lanes in ((0, 0), (0, 1)):
        made, ports = pin(graph, *enumerate(lanes))
        for port, factor in zip(ports, (8, 27), strict=True):
            answer = run(made, port.fetches, {port.feeds[0]: BATCH})[0]
            np.testing.assert_array_equal(answer, BATCH * factor)


def test_copies_cost_no_constants_and_one_device_has_one_copy() -> None:
    made, ports = pin(two_towers(lambda batch, index: batch @ WEIGHTS), (0, 0), (0, 1), (0, 0))
    ops = [one.op for one in made.node]
    assert ops.count("Const") == 1
    assert ops.count("Placeholder") == ops.count("MatMul") == 2
    assert ports[0] == ports[2] != ports[1]


def test_a_constant_that_waits_for_a_node_is_its_towers_own() -> None:
    def build(batch: Any, index: int) -> Any:
        with tf.control_dependencies([batch]):
            return batch + tf.constant(1.0, name="late")

    made, _ = pin(two_towers(build), (0, 0), (0, 1))
    waits = {one.device: one.input[0] for one in made.node if one.op == "Const"}
    assert waits == {"/device:CPU:0": "^Card_0/input", "/device:CPU:1": "^Placed_1/Card_0/input"}


def test_nodes_that_towers_share_are_copied_only_for_other_devices() -> None:
    shared: list[Any] = []
    graph = two_towers(
        lambda batch, index: batch * shared[0],
        lambda: shared.append(tf.sqrt(tf.constant([4.0, 9.0, 16.0]), name="root")),
    )
    for lanes, roots in (((0, 0), 1), ((0, 1), 2)):
        made, ports = pin(graph, *enumerate(lanes))
        assert [one.op for one in made.node].count("Sqrt") == roots
        answer = run(made, ports[1].fetches, {ports[1].feeds[0]: np.ones((1, 3))})[0]
        np.testing.assert_array_equal(answer, [[2, 3, 4]])


def test_copies_keep_clear_of_names_that_are_taken() -> None:
    shared: list[Any] = []

    def taken() -> None:
        for scope in ("Placed_1", "Placed_1_/Card_0"):
            with tf.name_scope(scope):
                shared.append(tf.sqrt(tf.constant([[4.0] * 3]), name="input"))

    graph = two_towers(lambda batch, index: batch + shared[0] + shared[1], taken)
    made, ports = pin(graph, (0, 0), (0, 1))
    names = [one.name for one in made.node]
    assert len(set(names)) == len(names)
    assert {"Placed_1/input", "Placed_1_/Card_0/input"} < {*names}
    assert ports[1].feeds == ("Placed_1__/Card_0/input:0",)
    for port in ports:
        answer = run(made, port.fetches, {port.feeds[0]: np.ones((1, 3))})[0]
        np.testing.assert_array_equal(answer, [[5, 5, 5]])


def test_ports_and_control_inputs_are_renamed_with_their_nodes() -> None:
    def build(batch: Any, index: int) -> Any:
        parts = tf.split(batch, 3, axis=1, name="parts")
        with tf.control_dependencies([tf.nn.relu(parts[1], name="before")]):
            return tf.identity(parts[2])

    made, ports = TowerGraph(two_towers(build)).pinned(
        [PinnedTower(tower(0, ("parts:1",), "parts:2"), f"/device:CPU:{n}") for n in range(2)]
    )
    assert ports[1] == Ports(("Placed_1/Card_0/parts:1",), ("Placed_1/Card_0/parts:2",))
    made, _ = pin(two_towers(build), (0, 0), (0, 1))
    copy = node(made, "Placed_1/Card_0/Identity")
    assert [*copy.input] == ["Placed_1/Card_0/parts:2", "^Placed_1/Card_0/before"]


def test_functions_come_along() -> None:
    graph = two_towers(function())
    assert graph.library.function
    made, _ = pin(graph, (0, 0))
    assert made.library == graph.library


@pytest.mark.parametrize("wrong", [tower(0, ("pixels:0",)), tower(0, output="logits:0"), tower(5)])
def test_a_node_that_is_not_there_is_named(wrong: Tower) -> None:
    graph = TowerGraph(two_towers(unchanged))
    with pytest.raises(errors.EngineFailed, match=r"no node 'Card_\d/(pixels|logits|input|probs)'"):
        graph.pinned([PinnedTower(wrong, "/device:CPU:0")])


@pytest.mark.parametrize("wrong", [tower(0, output="logits:0"), tower(5)])
def test_a_node_that_is_not_there_is_not_compared_but_named(wrong: Tower) -> None:
    graph = TowerGraph(two_towers(unchanged))
    for pair in ((tower(1), wrong), (wrong, tower(1))):
        with pytest.raises(errors.EngineFailed, match=r"no node 'Card_\d/(logits|input|probs)'"):
            graph.are_equal(*pair)


@pytest.mark.parametrize("source", ["Card_1/gone", "Card_1/gone:1", "^Card_1/gone"])
def test_a_node_that_only_another_node_reads_is_named_too(source: str) -> None:
    graph = two_towers(unchanged)
    node(graph, "Card_1/probs").input.append(source)
    with pytest.raises(errors.EngineFailed, match="no node 'Card_1/gone', which a tower needs"):
        pin(graph, (1, 0))
    # The other tower does not need it.
    pin(graph, (0, 0))
