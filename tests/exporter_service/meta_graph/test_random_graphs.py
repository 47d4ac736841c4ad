"""Training graphs made at random, against an inference that was built as one from the start.

Each seed is one graph: layers, norms, dropouts, flags, averages, towers, sizes of batch. What
passes its proof must answer what TensorFlow answers. `make test-graphs` tries thousands.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.support import training_graphs as zoo
from tests.support.meta_graph_conversions import answered, converted
from tests.support.training_graphs import control_flow, save

GRAPHS = int(os.environ.get("RANDOM_GRAPHS", "12"))
FIRST = int(os.environ.get("RANDOM_GRAPHS_FROM", "0"))
# Of float32, for nets of a few layers.
CLOSE = 2e-5


@dataclass(frozen=True)
class Block:
    """A layer, and what comes behind it."""

    layer: str
    units: int
    norm: str
    dropout: str
    activation: str


@dataclass(frozen=True)
class Plan:
    """A graph; `batch` 0 is any, `sides` 0 is a vector for each example."""

    sides: int
    blocks: tuple[Block, ...]
    batch: int
    cards: int
    averages: bool
    resource: bool
    functional: bool


def planned(seed: int) -> Plan:
    random = np.random.default_rng(seed)

    def one(*choices: Any) -> Any:
        return choices[random.integers(len(choices))]

    sides, batch = one(0, 4), one(0, 0, 1, 5)
    # Of one vector there are no statistics.
    norms = ("",) if batch == 1 else ("", "", "unfused", "kept", "switched", "fused")
    blocks = tuple(
        Block(
            layer=one("dense", "convolution") if sides else "dense",
            units=int(random.integers(2, 6)),
            norm=one(*norms),
            dropout=one("", "", "rate", "keep", "placeholder", "phase"),
            activation=one("relu", "tanh", "sigmoid", "none"),
        )
        for _ in range(random.integers(1, 4))
    )
    return Plan(
        sides, blocks, batch, one(1, 1, 2), bool(random.integers(2)),
        bool(random.integers(2)), bool(random.integers(2)),
    )  # fmt: skip


def net(x: Any, plan: Plan, *, training: bool) -> Any:
    """Returns logits; in training with all that training has."""
    flags: dict[str, Any] = {}

    def flag(name: str, default: Any) -> Any:
        if name not in flags:
            flags[name] = tf.placeholder_with_default(default, [], name=name)
        return flags[name]

    options = {"resource": plan.resource}
    for number, block in enumerate(plan.blocks):
        scope = f"block_{number}"
        if block.layer == "dense" and len(x.shape) > 2:
            x = flattened(x)
        layer = zoo.dense if len(x.shape) == 2 else zoo.convolution
        x = layer(x, block.units, scope, **options)
        x = normalised(x, block.norm, f"{scope}/norm", flag, options, training=training)
        x = {"relu": tf.nn.relu, "tanh": tf.tanh, "sigmoid": tf.sigmoid}.get(
            block.activation, tf.identity
        )(x)
        if training:
            x = dropped(x, block.dropout, flag)
    return zoo.dense(flattened(x), 3, "out", **options)


def flattened(x: Any) -> Any:
    """Flattens as layers do, with the size of batch that Python knows."""
    if len(x.shape) == 2:
        return x
    return tf.reshape(x, [x.shape[0] or -1, int(np.prod(x.shape[1:]))])


def normalised(
    x: Any, norm: str, scope: str, flag: Any, options: dict[str, Any], *, training: bool
) -> Any:
    if norm == "fused" and len(x.shape) == 4:
        return zoo.fused(x, scope, training=training, **options)
    if norm == "switched":
        if training:
            return zoo.switched(x, scope, flag("is_training", default=True), **options)
        return zoo.unfused(x, scope, training=False, **options)
    if norm:
        keep = norm == "kept" and len(x.shape) == 4
        return zoo.unfused(x, scope, training=training, keep=keep, **options)
    return x


def dropped(x: Any, dropout: str, flag: Any) -> Any:
    if dropout == "rate":
        return zoo.dropout_1_15(x, 0.4)
    if dropout == "keep":
        return zoo.dropout_1_0(x, 0.6)
    if dropout == "placeholder":
        return zoo.dropout_1_0(x, flag("keep_prob", default=0.5))
    if dropout == "phase":
        phase = flag("is_training", default=True)
        return tf.cond(phase, lambda: zoo.dropout_1_15(x, 0.3), lambda: tf.identity(x))
    return x


@pytest.mark.parametrize("seed", range(FIRST, FIRST + GRAPHS))
def test_what_is_proven_answers_what_inference_does(seed: int, tmp_path: Path) -> None:
    plan = planned(seed)
    shape = [plan.sides, plan.sides, 2] if plan.sides else [6]
    images = np.random.default_rng(seed).uniform(-1, 1, (4, *shape)).astype(np.float32)

    def train() -> None:
        x = tf.placeholder(tf.float32, [plan.batch or None, *shape], name="x")
        labels = tf.placeholder(tf.int32, [plan.batch or None], name="labels")
        logits = net(x, plan, training=True)
        tf.nn.softmax(logits, name="probs")
        zoo.minimize(logits, labels, average=plan.averages)

    def infer() -> Any:
        x = tf.placeholder(tf.float32, [None, *shape], name="input")
        return {"probs": tf.nn.softmax(net(x, plan, training=False))}

    with control_flow(2 if plan.functional and plan.resource else 1):
        saved = save(tmp_path, train, infer, {"input": images})
        done = converted(
            saved.prefix, tmp_path / "out", cards=plan.cards, inputs=["x"], outputs=["probs"]
        )
    assert done.parity.passed
    for outputs in answered(done, tmp_path / "out", {"input": images}):
        np.testing.assert_allclose(
            outputs["probs"], saved.wanted["probs"], atol=CLOSE, err_msg=str(plan)
        )
