"""Rows by inference, and where they come from: `rows` and `row_origin` together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tensorflow.compat.v1 as tf

from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec, Tower
from service_kit.frozen_graph.rows import OutputRows, Rows, infer_rows

Build = Callable[[Any], Any]
FEATURES = (-1, 6)
STEPS = (-1, -1, 3)


@pytest.fixture(autouse=True, params=["Switch and Merge", "While and If"])
def control_flow(request: pytest.FixtureRequest) -> Iterator[None]:
    """Builds with the control flow of TensorFlow 1, and with that of its last releases."""
    functional = tf.control_flow_v2_enabled()
    (tf.enable_control_flow_v2 if "While" in request.param else tf.disable_control_flow_v2)()
    yield
    (tf.enable_control_flow_v2 if functional else tf.disable_control_flow_v2)()


def rows_of(build: Build, shape: tuple[int, ...] = FEATURES) -> OutputRows:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None if size < 0 else size for size in shape], name="x")
        tf.identity(build(x), name="y")
    tower = Tower(
        0, "", "", (TensorSpec("x", "x:0", "float32", shape),),
        (TensorSpec("y", "y:0", "float32", (-1,)),),
    )  # fmt: skip
    return infer_rows(graph.as_graph_def(), tower)[0]


def as_number(x: Any) -> Any:
    return tf.cast(tf.reduce_max(x), tf.int32)


def weights(*shape: int) -> Any:
    return tf.ones(shape)


def recurrent(x: Any) -> tuple[Any, Any, Any]:
    """Returns the last state, all states by image, and all states by step, of a loop."""
    steps = tf.transpose(x, [1, 0, 2])
    count = tf.shape(steps)[0]
    inputs = tf.TensorArray(tf.float32, size=count).unstack(steps)

    def body(step: Any, state: Any, states: Any) -> Any:
        state = tf.tanh(tf.matmul(inputs.read(step), weights(3, 4)) + state)
        return step + 1, state, states.write(step, state)

    first = (0, tf.zeros([tf.shape(x)[0], 4]), tf.TensorArray(tf.float32, size=count))
    _, state, states = tf.while_loop(lambda step, *_: step < count, body, first)
    stacked = states.stack()
    return state, tf.transpose(stacked, [1, 0, 2]), stacked


def decoded(x: Any) -> Any:
    """Returns steps of a loop that ends when the data says so, [steps, images, 6]."""
    end = as_number(x)
    _, written = tf.while_loop(
        lambda step, _: step < end,
        lambda step, written: (step + 1, written.write(step, x)),
        (0, tf.TensorArray(tf.float32, size=0, dynamic_size=True)),
    )
    return written.stack()


@pytest.mark.parametrize(
    "build",
    [
        lambda x: tf.nn.softmax(tf.matmul(x, weights(6, 3))),
        lambda x: tf.reshape(x, [-1, 2, 3]),
        lambda x: tf.reshape(x, [tf.shape(x)[0], 3, 2]),
        lambda x: tf.gather(weights(50, 4), tf.argmax(x, 1)),
        lambda x: tf.nn.top_k(x, 3)[0],
    ],
    ids=["softmax", "reshape", "reshape by shape", "embedding", "best classes"],
)
def test_shape_inference_proves_what_keeps_images_apart(build: Build) -> None:
    assert rows_of(build) == OutputRows("y", Rows.ONE_AN_IMAGE)


def test_branches_of_as_many_rows_are_no_reason_to_refuse() -> None:
    found = rows_of(lambda x: tf.cond(tf.reduce_max(x) > 0, lambda: x * 2, lambda: x + 1))
    assert found.rows is not Rows.OTHERS


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda x: tf.reshape(x, [-1, 3]), "4 rows for 2 images"),
        (tf.transpose, "6 rows for 2 images"),
        (lambda x: tf.transpose(x[:, :2]), "2 rows for 3 images"),
        (lambda x: tf.ones([7, 2]) + tf.reduce_sum(x), "7 rows for 2 images"),
        (tf.reduce_mean, "no rows for 2 images"),
    ],
    ids=["reshape", "transpose", "transpose of as many", "table", "scalar"],
)
def test_shape_inference_refuses_other_numbers_of_rows(build: Build, reason: str) -> None:
    found = rows_of(build)
    assert found.rows is Rows.OTHERS
    assert reason in found.reason


@pytest.mark.parametrize(
    ("build", "op"),
    [
        (lambda x: tf.boolean_mask(x, x[:, 0] > 0), "Where"),
        (lambda x: tf.boolean_mask(tf.expand_dims(x, 2), x > 0), "Where"),
        (lambda x: tf.gather(x, tf.where(x[:, 0] > 0)[:, 0]), "Where"),
        (lambda x: tf.nn.relu(tf.boolean_mask(x, x[:, 0] > 0)) * 2 + 1, "Where"),
        (
            lambda x: tf.gather(x, tf.image.non_max_suppression(x[:, :4], x[:, 4], 10)),
            "NonMaxSuppressionV3",
        ),
        (lambda x: tf.unique(tf.reshape(x, [-1]))[0], "Unique"),
        (lambda x: tf.dynamic_partition(x, tf.cast(x[:, 0] > 0, tf.int32), 2)[1], "DynamicPartit"),
        (lambda x: tf.math.segment_sum(x, tf.cast(x[:, 0], tf.int32)), "SegmentSum"),
        (lambda x: x[: as_number(x)], "StridedSlice"),
        (lambda x: tf.slice(x, [0, 0], tf.stack([as_number(x), 6])), "Slice"),
        (lambda x: tf.tile(x, tf.stack([as_number(x), 1])), "Tile"),
        (lambda x: tf.cast(tf.range(as_number(x)), tf.float32), "Range"),
        (lambda x: tf.fill(tf.stack([as_number(x), 2]), 1.0), "Fill"),
        (lambda x: tf.reshape(x, tf.stack([as_number(x), -1])), "Reshape"),
        (lambda x: tf.pad(x, [[0, as_number(x)], [0, 0]]), "Pad"),
        (lambda x: tf.repeat(x, tf.cast(x[:, 0], tf.int32), axis=0), "Where|Reshape|Range|Gather"),
        (lambda x: tf.cond(tf.reduce_max(x) > 0, lambda: x, lambda: x[:1]), "Merge|If"),
        (decoded, "Range|TensorListStack"),
        (
            lambda x: tf.ones(tf.shape(tf.boolean_mask(x, x[:, 0] > 0))),
            "Where",
        ),
        (
            lambda x: tf.zeros([tf.size(tf.unique(tf.reshape(x, [-1]))[0]), 4]),
            "Unique|Fill",
        ),
    ],
    ids=[
        "mask", "mask of boxes", "where", "arithmetic behind a mask", "boxes", "unique",
        "partition", "segments", "slice", "slice op", "tile", "range", "fill", "reshape", "pad",
        "repeat", "condition", "decoder", "shape of a mask", "size of unique",
    ],
)  # fmt: skip
def test_rows_that_depend_on_data_are_refused_by_the_op(build: Build, op: str) -> None:
    found = rows_of(build)
    assert found.rows is Rows.OTHERS
    assert any(one in found.reason for one in op.split("|")), found.reason


@pytest.mark.parametrize("shape", [STEPS, (-1, 7, 3)], ids=["any length", "one length"])
@pytest.mark.parametrize("output", [0, 1, 2], ids=["state", "by image", "by step"])
def test_loops_are_left_to_runs(output: int, shape: tuple[int, ...]) -> None:
    assert rows_of(lambda x: recurrent(x)[output], shape).rows is Rows.NOT_KNOWN


@pytest.mark.parametrize(
    "build",
    [
        lambda x: tf.map_fn(lambda row: row * 2, x),
        lambda x: tf.map_fn(tf.reduce_sum, x),
        lambda x: tf.transpose(decoded(x), [1, 0, 2]),
        lambda x: tf.reduce_mean(decoded(x), 0),
        lambda x: tf.argmax(decoded(x), 0),
        lambda x: tf.reduce_sum(tf.map_fn(lambda row: row * 2, x), [-1], keepdims=True),
    ],
    ids=["map", "map to numbers", "decoder by image", "mean of steps", "best step", "sum"],
)
def test_what_a_loop_makes_for_each_image_is_left_to_runs(build: Build) -> None:
    assert rows_of(build).rows is Rows.NOT_KNOWN


def test_a_mask_inside_a_function_is_found() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 6], name="x")

        masked = tf.function(lambda batch: tf.boolean_mask(batch, batch[:, 0] > 0))
        tf.identity(masked(x), name="y")
    tower = Tower(
        0, "", "", (TensorSpec("x", "x:0", "float32", FEATURES),),
        (TensorSpec("y", "y:0", "float32", (-1,)),),
    )  # fmt: skip
    definition = graph.as_graph_def()
    for node in definition.node:
        node.attr.pop("_output_shapes", None)
    assert infer_rows(definition, tower)[0].rows is Rows.OTHERS


def test_a_large_table_of_constants_is_not_read() -> None:
    found = rows_of(lambda x: tf.matmul(x, tf.constant([[0.5] * 4096] * 6)))
    assert found.rows is Rows.ONE_AN_IMAGE


def test_a_graph_without_the_towers_tensors_is_said_to_be_so() -> None:
    tower = Tower(
        0, "", "", (TensorSpec("x", "x:0", "float32", FEATURES),),
        (TensorSpec("y", "y:0", "float32", (-1,)),),
    )  # fmt: skip
    with pytest.raises(errors.EngineFailed, match="the graph has no node"):
        infer_rows(tf.GraphDef(), tower)


def test_what_is_outside_of_the_tower_is_not_looked_at() -> None:
    def build(x: Any) -> Any:
        tf.reshape(x, [3, -1, 2], name="for_another_batch")
        tf.reshape(x, [4, 3], name="for_two_images_alone")
        return x

    assert rows_of(build).rows is Rows.ONE_AN_IMAGE


def test_what_depends_on_data_that_is_always_the_same_depends_on_none() -> None:
    def build(x: Any) -> Any:
        free = tf.raw_ops.ListDiff(x=tf.constant([0, 1]), y=tf.constant([1])).out
        rows = tf.gather(tf.shape(x), free)
        return tf.reshape(x, tf.concat([rows, tf.constant([2, 3])], 0))

    assert rows_of(build).rows is not Rows.OTHERS
