from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from inference_service.devices import parse_devices, place_cards
from inference_service.engine import EngineCard
from inference_service.engine.tensorflow import TensorFlowEngine, TensorFlowEngines
from service_kit import errors
from service_kit.manifest import TensorSpec, Tower
from tests.conftest import Converted
from tests.support.digits import GOLDEN, PARITY, expected
from tests.support.engines import pixels
from tests.support.manifests import tower


def towers_of(prefixes: Sequence[str]) -> list[Tower]:
    return [
        Tower(
            index,
            prefix.strip("/"),
            "",
            (TensorSpec("input", f"{prefix}input:0", "float32", (-1, 32, 32, 3)),),
            (TensorSpec("probs", f"{prefix}probs:0", "float32", (-1, 10)),),
        )
        for index, prefix in enumerate(prefixes)
    ]


def loaded(
    graph: bytes, towers: Sequence[Tower], devices: str = "cpu:2", *, share_towers: bool = True
) -> TensorFlowEngine:
    """Returns an engine with all cards prepared, as the loader has it."""
    engines = TensorFlowEngines(parse_devices(devices), cores=2, share_towers=share_towers)
    places = place_cards(len(towers), engines.devices(), replicate=True)
    engine = engines.load(graph, [EngineCard(towers[p.tower], p.device) for p in places])
    for place in places:
        engine.prepare(place.card)
    return engine


def digits(converted: Converted, **options: Any) -> TensorFlowEngine:
    return loaded(converted.path.read_bytes(), converted.conversion.towers, **options)


SINGLE = (GOLDEN / "single.pb").read_bytes()
MULTI = (GOLDEN / "multi.pb").read_bytes()
FOUR = ["Card_0/", "Card_1/", "Card_0/", "Card_1/"]


def images(count: int = 297) -> np.ndarray:
    return expected()["images"][:count].astype(np.float32)


def test_every_card_answers_as_tensorflow_1_15_did(converted_ema: Converted) -> None:
    engine = digits(converted_ema)
    for card in (0, 1):
        probs = engine.run(card, {"input": images()})["probs"]
        assert np.abs(probs - expected()["probs_ema"]).max() < PARITY
    engine.close()


@pytest.mark.parametrize("share_towers", [True, False])
@pytest.mark.parametrize(
    ("graph", "prefixes", "devices", "cards"),
    [
        (SINGLE, [""], "cpu:1", 1),
        (SINGLE, [""], "cpu:2", 2),
        (MULTI, FOUR[:2], "cpu:2", 2),
        (MULTI, FOUR[:2], "cpu:4", 4),
        (MULTI, FOUR, "cpu:1", 4),
    ],
    ids=["1 on 1", "1 on 2", "2 on 2", "2 on 4", "4 on 1"],
)
def test_all_cards_of_what_tensorflow_1_15_froze_answer(
    graph: bytes, prefixes: list[str], devices: str, cards: int, *, share_towers: bool
) -> None:
    engine = loaded(graph, towers_of(prefixes), devices, share_towers=share_towers)
    for card in range(cards):
        probs = engine.run(card, {"input": images()})["probs"]
        assert np.abs(probs - expected()["probs_ema"]).max() < PARITY
    with pytest.raises(IndexError):
        engine.run(cards, {"input": images(1)})
    engine.close()


@pytest.mark.parametrize(
    ("prefixes", "devices", "calls"),
    [
        (FOUR[:2], "cpu:4", [0, 0, 0, 0]),
        (FOUR, "cpu:1", [0, 0, 0, 0]),
    ],
)
def test_equal_towers_in_one_memory_share_what_is_prepared(
    prefixes: list[str], devices: str, calls: list[int]
) -> None:
    engine = loaded(MULTI, towers_of(prefixes), devices)
    assert [engine.prepare(card) for card in range(len(calls))] == calls
    apart = loaded(MULTI, towers_of(prefixes), devices, share_towers=False)
    assert [apart.prepare(card) for card in range(len(calls))] == list(range(len(calls)))
    engine.close()
    apart.close()


def test_towers_with_weights_of_their_own_share_nothing() -> None:
    towers = [tower(index, cards=2) for index in range(2)]
    with tf.Graph().as_default() as graph:
        for one in towers:
            with tf.name_scope(one.scope):
                batch = tf.placeholder(tf.float32, [None, 2, 2, 3], name="input")
                tf.add(tf.reduce_mean(batch, [1, 2]), float(one.index), name="probs")
    engine = loaded(graph.as_graph_def().SerializeToString(), towers)
    for card in (0, 1):
        assert engine.prepare(card) == card
        assert engine.run(card, {"input": pixels(5)})["probs"][0, 0] == 5 + card
    engine.close()


@pytest.mark.parametrize(
    ("prefixes", "devices", "lanes"),
    [
        ([""], "cpu:2", [0, 1]),
        (FOUR[:2], "cpu:4", [0, 1, 2, 3]),
        (FOUR, "cpu:2", [0, 1, 0, 1]),
    ],
)
def test_a_card_runs_on_its_device_alone(
    prefixes: list[str], devices: str, lanes: list[int]
) -> None:
    graph = SINGLE if prefixes == [""] else MULTI
    engine = loaded(graph, towers_of(prefixes), devices, share_towers=False)
    for card, lane in enumerate(lanes):
        ports, trace = engine._ports[card], tf.RunMetadata()
        engine._session.run(
            ports.fetches,
            dict(zip(ports.feeds, [images(1)], strict=True)),
            tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE),
            trace,
        )
        ran = {
            stats.device
            for stats in trace.step_stats.dev_stats
            for node in stats.node_stats
            if "Conv" in node.node_name or "MatMul" in node.node_name
        }
        assert ran == {f"/job:localhost/replica:0/task:0/device:CPU:{lane}"}
    engine.close()


def test_an_answer_does_not_depend_on_its_company(converted_ema: Converted) -> None:
    engine = digits(converted_ema)
    together = engine.run(0, {"input": images(8)})["probs"]
    for number in range(8):
        alone = engine.run(1, {"input": images(8)[number : number + 1]})["probs"]
        np.testing.assert_allclose(alone[0], together[number], atol=1e-6)
    engine.close()


@pytest.mark.parametrize("share_towers", [True, False])
@pytest.mark.parametrize("before", [0, 1], ids=["first", "after a single-card model"])
def test_cards_run_at_the_same_time(before: int, *, share_towers: bool) -> None:
    """Each card's graph waits for the other one: one after the other would never end."""
    meeting = threading.Barrier(2)

    def meet(batch: np.ndarray) -> np.ndarray:
        meeting.wait(30)
        return batch

    towers = [tower(index, cards=2) for index in range(2)]
    with tf.Graph().as_default() as graph:
        for one in towers:
            with tf.name_scope(one.scope):
                batch = tf.placeholder(tf.float32, [None, 2, 2, 3], name="input")
                met = tf.numpy_function(meet, [batch], tf.float32, stateful=False)
                tf.identity(tf.reshape(met, [-1, 12])[:, :3], name="probs")
    others = [loaded(SINGLE, towers_of([""]), "cpu:1") for _ in range(before)]
    engine = loaded(
        graph.as_graph_def().SerializeToString(), towers, "cpu:2", share_towers=share_towers
    )
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(engine.run, card, {"input": pixels(card)}) for card in (0, 1)]
        for card, answer in enumerate(running):
            assert answer.result(60)["probs"][0, 0] == card
    for loaded_engine in (engine, *others):
        loaded_engine.close()


@pytest.mark.parametrize("content", [b"", b"noise", b"\x0a\xff\xff\xff\xff\x0f", b"\x00" * 1000])
def test_bytes_that_are_no_graph_are_an_engine_failure(
    converted_ema: Converted, content: bytes
) -> None:
    with pytest.raises(errors.EngineFailed):
        loaded(content, converted_ema.conversion.towers)


def test_a_tensor_that_the_graph_lacks_is_named(converted_ema: Converted) -> None:
    known = converted_ema.conversion.towers[0]
    for name, words in (("images:0", r"no node '\w+/images'"), ("input:7", "no tensor .*input:7")):
        spec = replace(known.inputs[0], tensor_name=f"{known.scope}/{name}")
        with pytest.raises(errors.EngineFailed, match=words):
            loaded(converted_ema.path.read_bytes(), [replace(known, inputs=(spec,))])


def test_an_input_that_the_graph_refuses_is_an_engine_failure(converted_ema: Converted) -> None:
    engine = digits(converted_ema)
    with pytest.raises(errors.EngineFailed, match="TensorFlow failed on card 0"):
        engine.run(0, {"input": np.zeros((1, 9, 9, 1), np.float32)})
    assert np.isfinite(engine.run(0, {"input": images(1)})["probs"]).all()
    engine.close()


def test_an_op_that_tensorflow_has_not_is_named() -> None:
    graph = tf.GraphDef.FromString(SINGLE)
    next(node for node in graph.node if node.op == "Conv2D").op = "ConvOfMine"
    with pytest.raises(errors.EngineFailed, match=r"cannot import the graph: .*ConvOfMine"):
        loaded(graph.SerializeToString(), towers_of([""]))


def test_an_op_that_fails_says_why_and_the_card_goes_on() -> None:
    with tf.Graph().as_default() as graph:
        batch = tf.placeholder(tf.float32, [None, 2, 2, 3], name="input")
        sound = tf.debugging.check_numerics(batch, "not a number in the pixels")
        tf.reduce_mean(sound, [1, 2], name="probs")
    engine = loaded(graph.as_graph_def().SerializeToString(), [tower()])
    with pytest.raises(errors.EngineFailed, match=r"card 1: .*not a number in the pixels"):
        engine.run(1, {"input": pixels(float("nan"))})
    assert engine.run(1, {"input": pixels(3)})["probs"][0, 0] == 3
    engine.close()


def test_closing_frees_the_graph() -> None:
    engine = loaded(SINGLE, towers_of([""]))
    engine.run(0, {"input": images(1)})
    gone = weakref.ref(engine._graph)
    engine.close()
    del engine
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("devices", "cores", "asked", "threads"),
    [("cpu:1", 8, None, 8), ("cpu:2", 8, None, 4), ("cpu:4", 2, None, 1), ("cpu:4", 2, 3, 3)],
)
def test_threads_inside_ops_are_the_cores_divided_by_cards_unless_told(
    devices: str, cores: int, asked: int | None, threads: int
) -> None:
    engines = TensorFlowEngines(parse_devices(devices), cores=cores, threads=asked)
    cards = [EngineCard(towers_of([""])[0], device) for device in engines.devices()]
    engine = engines.load(SINGLE, cards)
    assert engine._session._config.intra_op_parallelism_threads == threads
    engine.close()


def test_a_gpu_that_is_not_there_is_named() -> None:
    engines = TensorFlowEngines(parse_devices("gpu:0"), cores=2)
    with pytest.raises(errors.InvalidRequest, match="gpu:0 is not visible here"):
        engines.devices()
