from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from inference_service.engine import EngineCard
from inference_service.engine.devices import Device, parse_devices, place_cards
from inference_service.engine.session import device_name, session_config
from inference_service.engine.tensorflow import TensorFlowEngine, TensorFlowEngines
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec, Tower
from tests.conftest import Converted
from tests.support.digits import GOLDEN, PARITY, expected
from tests.support.engines import pixels
from tests.support.manifests import tower
from tests.support.training_graphs import control_flow

Build = Callable[[Any, int], Any]


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
    engines = TensorFlowEngines(
        parse_devices(devices),
        cores=2,
        share_towers=share_towers,
        # By which the tests' own graphs tell what they do.
        allowed_ops=["PyFunc", "PyFuncStateless"],
    )
    places = place_cards(len(towers), engines.devices(), replicate=True)
    engine = engines.load(graph, [EngineCard(towers[p.tower], p.device) for p in places])
    for place in places:
        engine.prepare(place.card)
    return engine


def frozen(build: Build, towers: int = 1) -> bytes:
    """Returns a graph in which `build` makes each tower's `probs` of its 2x2x3 images."""
    with tf.Graph().as_default() as graph:
        for index in range(towers):
            with tf.name_scope(tower(index, towers).scope):
                batch = tf.placeholder(tf.float32, [None, 2, 2, 3], name="input")
                tf.identity(build(batch, index), name="probs")
    content: bytes = graph.as_graph_def().SerializeToString()
    return content


def towers_for(build: Build, cards: int = 1) -> tuple[bytes, list[Tower]]:
    return frozen(build, cards), [tower(index, cards) for index in range(cards)]


def means(batch: Any, index: int) -> Any:
    return tf.reduce_mean(batch, [1, 2])


def own_means(batch: Any, index: int) -> Any:
    """Tells by its answer which tower ran."""
    return means(batch, index) + float(index)


def noting(run: Callable[[], Any]) -> Build:
    """Returns means after a call of `run` on the thread of the ops; TensorFlow does not keep it."""

    def noted(batch: np.ndarray) -> np.ndarray:
        run()
        return batch

    def build(batch: Any, index: int) -> Any:
        same = tf.numpy_function(noted, [batch * 1.0], tf.float32, stateful=False)
        return tf.ensure_shape(tf.reduce_mean(same, [1, 2]), [None, 3])

    return build


def asked(engine: TensorFlowEngine, card: int, batch: Any) -> np.ndarray:
    return np.asarray(engine.run(card, {"input": batch})["probs"])


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
        assert engine.prepare(card) == 0
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


@pytest.mark.parametrize("share_towers", [True, False])
@pytest.mark.parametrize(
    ("prefixes", "devices", "cards"),
    [(FOUR[:2], "cpu:4", 4), (FOUR, "cpu:1", 4), ([""], "cpu:2", 2)],
    ids=["2 on 4", "4 on 1", "1 on 2"],
)
def test_cards_answer_as_a_plain_session_does(
    prefixes: list[str], devices: str, cards: int, *, share_towers: bool
) -> None:
    graph, batch = (SINGLE if prefixes == [""] else MULTI), images(16)
    engine = loaded(graph, towers_of(prefixes), devices, share_towers=share_towers)
    with tf.Graph().as_default() as plain:
        tf.import_graph_def(tf.GraphDef.FromString(graph), name="")
    with tf.Session(graph=plain) as session:
        for card in range(cards):
            prefix = prefixes[card % len(prefixes)]
            answer = session.run(f"{prefix}probs:0", {f"{prefix}input:0": batch})
            np.testing.assert_allclose(asked(engine, card, batch), answer, atol=1e-6)
    engine.close()


@pytest.mark.parametrize("share_towers", [True, False])
@pytest.mark.parametrize(
    ("towers", "devices", "own"),
    [
        (4, "cpu:1", [0, 1, 2, 3]),
        (4, "cpu:2", [0, 1, 2, 3]),
        (2, "cpu:4", [0, 1, 0, 0]),
        (1, "cpu:3", [0, 0, 0]),
        (3, "cpu:3", [0, 1, 2]),
    ],
)
def test_a_card_runs_its_own_tower_or_a_copy_of_the_first(
    towers: int, devices: str, own: list[int], *, share_towers: bool
) -> None:
    engine = loaded(*towers_for(own_means, towers), devices, share_towers=share_towers)
    cards = range(len(own))
    assert [asked(engine, card, pixels(5))[0, 0] - 5 for card in cards] == own
    assert [engine.prepare(card) for card in cards] == (own if share_towers else [*cards])
    engine.close()


def test_a_card_may_be_prepared_after_another_has_run_and_again() -> None:
    graph, towers = towers_for(own_means, 3)
    engines = TensorFlowEngines(parse_devices("cpu:3"), cores=2)
    cards = zip(towers, engines.devices(), strict=True)
    engine = engines.load(graph, [EngineCard(one, device) for one, device in cards])
    for card in (2, 0, 1, 2, 0):
        assert engine.prepare(card) == card
        assert asked(engine, card, pixels(5))[0, 0] == 5 + card
    engine.close()


def test_cards_share_only_what_is_fed_alike() -> None:
    """Both towers have one output, and are fed at different nodes before it."""

    def build(batch: Any, index: int) -> Any:
        return means(tf.identity(batch, name="middle") * 2, index)

    known = tower()
    middle = replace(known.inputs[0], name="image", tensor_name="middle:0")
    engine = loaded(frozen(build), [known, replace(known, index=1, inputs=(middle,))], "cpu:2")
    assert [engine.prepare(card) for card in (0, 1)] == [0, 1]
    assert engine.run(0, {"input": pixels(5)})["probs"][0, 0] == 10
    assert engine.run(1, {"image": pixels(6)})["probs"][0, 0] == 12
    engine.close()


def condition(batch: Any, index: int) -> Any:
    with control_flow(1):
        values = means(batch, index)
        return tf.cond(tf.reduce_sum(values) > 0, lambda: values * 5.0, lambda: values * 7.0)


def loop(batch: Any, index: int) -> Any:
    with control_flow(1):
        steps = lambda n, _: n < 3  # noqa: E731
        return tf.while_loop(steps, lambda n, x: (n + 1, x * 2.0), [0, means(batch, index)])[1]


@pytest.mark.parametrize(
    ("build", "answers"), [(condition, [10, -14]), (loop, [16, -16])], ids=["condition", "loop"]
)
@pytest.mark.parametrize("share_towers", [True, False])
def test_copies_of_conditions_and_loops_run_too(
    build: Build, answers: list[int], *, share_towers: bool
) -> None:
    engine = loaded(*towers_for(build, 2), "cpu:4", share_towers=share_towers)
    for card in range(4):
        assert [asked(engine, card, pixels(n))[0, 0] for n in (2, -2)] == answers
        assert engine.prepare(card) == (0 if share_towers else card)
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
        # What is fed and fetched goes through the first device.
        ran = {
            stats.device
            for stats in trace.step_stats.dev_stats
            for node in stats.node_stats
            if not node.node_name.startswith(("_SOURCE", "_arg_", "_retval_"))
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


@pytest.mark.parametrize(
    ("towers", "share_towers", "calls"),
    [(2, True, [0, 1]), (2, False, [0, 1]), (1, True, [0, 0]), (1, False, [0, 1])],
    ids=["two towers", "two towers apart", "one call", "a copy"],
)
@pytest.mark.parametrize("before", [0, 1], ids=["first", "after a single-card model"])
def test_cards_run_at_the_same_time(
    before: int, towers: int, calls: list[int], *, share_towers: bool
) -> None:
    """Each card's graph waits for the other one: one after the other would never end."""
    meeting = threading.Barrier(2)
    build = noting(lambda: meeting.wait(30))
    others = [loaded(SINGLE, towers_of([""]), "cpu:1") for _ in range(before)]
    engine = loaded(*towers_for(build, towers), "cpu:2", share_towers=share_towers)
    assert [engine.prepare(card) for card in (0, 1)] == calls
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            running = [pool.submit(asked, engine, card, pixels(card)) for card in (0, 1)]
            for card, answer in enumerate(running):
                assert answer.result(60)[0, 0] == card
    for loaded_engine in (engine, *others):
        loaded_engine.close()


def test_many_runs_at_once_do_not_mix_their_batches() -> None:
    engine = loaded(*towers_for(own_means, 2), "cpu:4")
    with ThreadPoolExecutor(4) as pool:

        def answers(card: int) -> bool:
            own = 1 if card == 1 else 0
            return all(
                (
                    asked(engine, card, pixels(*range(n, n + card + 1)))[:, 0]
                    == [*range(n + own, n + own + card + 1)]
                ).all()
                for n in range(100)
            )

        assert all(pool.map(answers, range(4)))
    engine.close()


@pytest.mark.parametrize("towers", [1, 3], ids=["one call", "three calls"])
def test_ops_run_on_the_thread_that_asks(towers: int) -> None:
    ran_on: list[int] = []
    build = noting(lambda: ran_on.append(threading.get_ident()))
    engine = loaded(*towers_for(build, towers), "cpu:3")
    assert len({engine.prepare(card) for card in range(3)}) == towers
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(threading.get_ident).result()
        for card in range(3):
            asked(engine, card, pixels(1))
            pool.submit(asked, engine, card, pixels(1)).result(60)
    assert ran_on == [threading.get_ident(), other] * 3
    engine.close()


def test_with_one_thread_inside_ops_the_asking_thread_does_the_work() -> None:
    def build(batch: Any, index: int) -> Any:
        wide = tf.tile(tf.reshape(batch, [-1, 12]), [1, 100])
        weights = np.full((1200, 1200), 0.001, np.float32)
        return (wide @ weights @ weights)[:, :3]

    engine = loaded(*towers_for(build), "cpu:2")
    batch = pixels(*range(1000))
    asked(engine, 1, batch)
    own, all_threads = time.thread_time(), time.process_time()
    for _ in range(3):
        asked(engine, 1, batch)
    own, all_threads = time.thread_time() - own, time.process_time() - all_threads
    assert own > all_threads / 2
    assert engine.computes_on_caller
    engine.close()


def test_with_more_threads_inside_ops_its_own_time_is_not_all() -> None:
    engine = loaded(*towers_for(lambda batch, index: batch[:, 0, 0]), "cpu:1")
    assert not engine.computes_on_caller
    engine.close()


def test_answers_keep_none_of_tensorflows_memory() -> None:
    engine = loaded(*towers_for(lambda batch, index: batch[:, 0, 0] * 2), "cpu:1")
    probs = engine.run(0, {"input": pixels(*range(1000))})["probs"]
    # Who drops it frees nothing of TensorFlow's.
    assert probs.flags.owndata
    engine.close()


@pytest.mark.parametrize(
    "arranged",
    [
        lambda batch: batch[:, :, ::-1],
        lambda batch: batch[::2],
        lambda batch: batch[:0],
        np.asfortranarray,
        lambda batch: np.frombuffer(batch.tobytes(), np.float32).reshape(batch.shape),
        lambda batch: np.frombuffer(b"?" + batch.tobytes(), np.float32, offset=1).reshape(
            batch.shape
        ),
    ],
    ids=["backwards", "strided", "empty", "columns first", "read-only", "unaligned"],
)
def test_arrays_may_lie_in_memory_as_they_like(
    arranged: Callable[[np.ndarray], np.ndarray],
) -> None:
    engine = loaded(*towers_for(lambda batch, index: batch[:, 0, 1] * 2), "cpu:1")
    batch = arranged(np.arange(48, dtype=np.float32).reshape(4, 2, 2, 3))
    np.testing.assert_array_equal(asked(engine, 0, batch), batch[:, 0, 1] * 2)
    engine.close()


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
        engine.run(0, {"input": np.zeros((1, 9, 9, 5), np.float32)})
    assert np.isfinite(engine.run(0, {"input": images(1)})["probs"]).all()
    engine.close()


def test_an_op_that_tensorflow_has_not_is_named() -> None:
    graph = tf.GraphDef.FromString(SINGLE)
    next(node for node in graph.node if node.op == "Conv2D").op = "ConvOfMine"
    with pytest.raises(errors.GraphRefused, match="ConvOfMine"):
        loaded(graph.SerializeToString(), towers_of([""]))


@pytest.mark.parametrize(
    ("build", "bad", "words"),
    [
        (
            lambda batch, index: means(tf.debugging.check_numerics(batch, "bad pixels"), index),
            pixels(float("nan")),
            "bad pixels",
        ),
        (
            lambda batch, index: means(tf.reshape(batch, [2, 2, 2, 3]), index),
            pixels(3),
            "12 values, but the requested shape has 24",
        ),
        (
            lambda batch, index: tf.gather(means(batch, 0), tf.cast(batch[:, 0, 0, 0], "int32")),
            pixels(9, 9),
            r"= 9 is not in \[0, 2\)",
        ),
    ],
    ids=["numerics", "reshape", "gather"],
)  # fmt: skip
@pytest.mark.parametrize("share_towers", [True, False])
def test_an_op_that_fails_says_why_and_all_cards_go_on(
    build: Build, bad: np.ndarray, words: str, *, share_towers: bool
) -> None:
    engine = loaded(*towers_for(build, 2), "cpu:4", share_towers=share_towers)
    for failing in range(4):
        with pytest.raises(errors.EngineFailed, match=rf"(?s)failed on card {failing}: .*{words}"):
            asked(engine, failing, bad)
        for card in range(4):
            assert asked(engine, card, pixels(0, 0))[0, 0] == 0
    engine.close()


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (pixels(1, dtype="float64"), "actual double vs. expect float"),
        (pixels(1, dtype="int32"), "actual int32 vs. expect float"),
        (np.array([None]), "Unsupported object type"),
        (np.array(["a", "b"]), "actual string vs. expect float"),
    ],
    ids=["double", "integers", "objects", "text"],
)
def test_a_batch_of_another_kind_is_an_engine_failure(batch: np.ndarray, words: str) -> None:
    engine = loaded(*towers_for(means), "cpu:1")
    with pytest.raises(errors.EngineFailed, match=words):
        asked(engine, 0, batch)
    assert asked(engine, 0, pixels(4))[0, 0] == 4
    engine.close()


def test_a_tower_that_cannot_be_prepared_says_why() -> None:
    known = tower()
    through = replace(known, outputs=(replace(known.inputs[0], name="probs"),))
    with pytest.raises(errors.EngineFailed, match=r"cannot prepare card 0: .*both fed and fetched"):
        loaded(frozen(means), [through])


def test_what_is_fed_and_not_read_does_no_harm() -> None:
    def build(batch: Any, index: int) -> Any:
        tf.placeholder(tf.bool, [], name="is_training")
        return means(batch, index)

    known = tower()
    unused = TensorSpec("is_training", "is_training:0", "bool", ())
    engine = loaded(frozen(build), [replace(known, inputs=(*known.inputs, unused))], "cpu:2")
    answer = engine.run(1, {"is_training": np.array(True), "input": pixels(7)})
    assert answer["probs"][0, 0] == 7
    engine.close()


def test_outputs_come_by_name_in_any_order() -> None:
    def build(batch: Any, index: int) -> Any:
        return tf.identity(means(batch, index) * 2, name="doubled") / 2

    known = tower()
    doubled = TensorSpec("doubled", "doubled:0", "float32", (-1, 3))
    for outputs in ((*known.outputs, doubled), (doubled, *known.outputs)):
        engine = loaded(frozen(build), [replace(known, outputs=outputs)], "cpu:2")
        answer = engine.run(1, {"input": pixels(3)})
        assert {name: value[0, 0] for name, value in answer.items()} == {"probs": 3, "doubled": 6}
        engine.close()


def test_devices_of_the_training_do_not_matter() -> None:
    def build(batch: Any, index: int) -> Any:
        with tf.device(f"/job:worker/task:3/device:GPU:{index}"):
            return own_means(batch, index)

    engine = loaded(*towers_for(build, 2), "cpu:2")
    assert [asked(engine, card, pixels(1))[0, 0] for card in (0, 1)] == [1, 2]
    engine.close()


def test_what_a_device_cannot_run_goes_to_the_cpu() -> None:
    """As on a GPU without a kernel for an op, here for want of the GPU."""
    devices = [Device("gpu", 0), Device("gpu", 1)]
    graph, towers = towers_for(own_means, 2)
    cards = [EngineCard(one, device) for one, device in zip(towers, devices, strict=True)]
    engine = TensorFlowEngine(
        graph, cards, devices, threads=1, gpu_memory_bytes=None, share_towers=True
    )
    assert [engine.prepare(card) for card in (0, 1)] == [0, 1]
    assert [asked(engine, card, pixels(1))[0, 0] for card in (0, 1)] == [1, 2]
    engine.close()


def test_cards_share_on_one_gpu_and_not_across_gpus() -> None:
    devices = [Device("gpu", 0), Device("gpu", 1)]
    graph, towers = towers_for(means, 4)
    cards = [EngineCard(one, devices[one.index % 2]) for one in towers]
    engine = TensorFlowEngine(
        graph, cards, devices, threads=1, gpu_memory_bytes=None, share_towers=True
    )
    assert [engine.prepare(card) for card in range(4)] == [0, 1, 0, 1]
    assert [ports.feeds[0] for ports in engine._ports] == ["Card_0/input:0", "Card_1/input:0"]
    engine.close()


def test_a_session_sees_the_devices_of_the_service_alone() -> None:
    lanes = parse_devices("cpu:3").devices
    config = session_config(lanes, intra_op_threads=2, gpu_memory_bytes=2**30)
    assert dict(config.device_count) == {"CPU": 3, "GPU": 0}
    assert [device_name(lane, lanes) for lane in lanes] == [f"/device:CPU:{n}" for n in range(3)]
    gpus = parse_devices("gpu:2,gpu:0").devices
    config = session_config(gpus, intra_op_threads=2, gpu_memory_bytes=2**30)
    assert dict(config.device_count) == {"CPU": 1, "GPU": 2}
    assert config.gpu_options.visible_device_list == "2,0"
    assert [device_name(gpu, gpus) for gpu in gpus] == ["/device:GPU:0", "/device:GPU:1"]
    limits = [one.memory_limit_mb[:] for one in config.gpu_options.experimental.virtual_devices]
    assert limits == [[1024], [1024]]


@pytest.mark.parametrize("failed", [False, True], ids=["", "after a failure"])
def test_closing_frees_the_graph(*, failed: bool) -> None:
    engine = loaded(SINGLE, towers_of([""]))
    asked(engine, 0, images(1))
    if failed:
        with pytest.raises(errors.EngineFailed):
            asked(engine, 0, np.zeros((1, 32, 32, 5), np.float32))
    graph, session = weakref.ref(engine._graph), weakref.ref(engine._session)
    engine.close()
    # The session has the weights: nothing waits for a collection of garbage. Python's graph
    # refers to itself.
    assert session() is None
    gc.collect()
    assert graph() is None


def test_closing_one_engine_leaves_others_alone() -> None:
    first, second = (loaded(*towers_for(means), "cpu:2") for _ in range(2))
    first.close()
    assert asked(second, 1, pixels(8))[0, 0] == 8
    second.close()


@pytest.mark.parametrize(
    ("devices", "cores", "wanted", "threads"),
    [("cpu:1", 8, None, 8), ("cpu:2", 8, None, 4), ("cpu:4", 2, None, 1), ("cpu:4", 2, 3, 3)],
)
def test_threads_inside_ops_are_the_cores_divided_by_cards_unless_told(
    devices: str, cores: int, wanted: int | None, threads: int
) -> None:
    engines = TensorFlowEngines(parse_devices(devices), cores=cores, threads=wanted)
    cards = [EngineCard(towers_of([""])[0], device) for device in engines.devices()]
    engine = engines.load(SINGLE, cards)
    assert engine._session._config.intra_op_parallelism_threads == threads
    engine.close()


def test_a_gpu_that_is_not_there_is_named() -> None:
    engines = TensorFlowEngines(parse_devices("gpu:0"), cores=2)
    with pytest.raises(errors.InvalidRequest, match="gpu:0 is not visible here"):
        engines.devices()


def test_a_graph_that_would_write_a_file_is_refused_before_it_is_imported(tmp_path: Path) -> None:
    def build() -> None:
        batch = tf.placeholder(tf.float32, [None, 2, 2, 3], name="input")
        write = tf.io.write_file(str(tmp_path / "written"), "x")
        with tf.control_dependencies([write]):
            tf.reduce_mean(batch, [1, 2], name="probs")

    with tf.Graph().as_default() as graph:
        build()
    with pytest.raises(errors.GraphRefused, match=r"WriteFile \(node WriteFile\)"):
        loaded(graph.as_graph_def().SerializeToString(), towers_of([""]))
    assert not (tmp_path / "written").exists()
