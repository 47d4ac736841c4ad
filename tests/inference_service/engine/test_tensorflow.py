from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from inference_service.engine.tensorflow import TensorFlowEngine
from service_kit import errors
from service_kit.manifest import TensorSpec, Tower
from tests.conftest import Converted
from tests.support.digits import GOLDEN, PARITY, expected
from tests.support.engines import pixels
from tests.support.manifests import tower

SINGLE = Tower(
    0,
    "",
    "",
    (TensorSpec("input", "input:0", "float32", (-1, 32, 32, 3)),),
    (TensorSpec("probs", "probs:0", "float32", (-1, 10)),),
)


def loaded(converted: Converted) -> TensorFlowEngine:
    return TensorFlowEngine(converted.path.read_bytes(), converted.conversion.towers)


def images(count: int = 297) -> np.ndarray:
    return expected()["images"][:count].astype(np.float32)


def test_every_card_answers_as_tensorflow_1_15_did(converted_ema: Converted) -> None:
    engine = loaded(converted_ema)
    for card in (0, 1):
        probs = engine.run(card, {"input": images()})["probs"]
        assert np.abs(probs - expected()["probs_ema"]).max() < PARITY
    engine.close()


@pytest.mark.parametrize(
    ("file", "prefixes"), [("single.pb", [""]), ("multi.pb", ["Card_0/", "Card_1/"])]
)
def test_runs_the_files_that_tensorflow_1_15_froze(file: str, prefixes: list[str]) -> None:
    towers = [
        Tower(
            index,
            prefix.strip("/"),
            "",
            (TensorSpec("input", f"{prefix}input:0", "float32", (-1, 32, 32, 3)),),
            (TensorSpec("probs", f"{prefix}probs:0", "float32", (-1, 10)),),
        )
        for index, prefix in enumerate(prefixes)
    ]
    engine = TensorFlowEngine((GOLDEN / file).read_bytes(), towers)
    for card in range(len(towers)):
        probs = engine.run(card, {"input": images()})["probs"]
        assert np.abs(probs - expected()["probs_ema"]).max() < PARITY
    engine.close()


def test_an_answer_does_not_depend_on_its_company(converted_ema: Converted) -> None:
    engine = loaded(converted_ema)
    together = engine.run(0, {"input": images(8)})["probs"]
    for number in range(8):
        alone = engine.run(1, {"input": images(8)[number : number + 1]})["probs"]
        np.testing.assert_allclose(alone[0], together[number], atol=1e-6)
    engine.close()


@pytest.mark.parametrize("before", [0, 1], ids=["first", "after a single-card model"])
def test_cards_run_at_the_same_time(before: int) -> None:
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
    single = (GOLDEN / "single.pb").read_bytes()
    others = [TensorFlowEngine(single, [SINGLE]) for _ in range(before)]
    engine = TensorFlowEngine(graph.as_graph_def().SerializeToString(), towers)
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
        TensorFlowEngine(content, converted_ema.conversion.towers)


def test_a_tensor_that_the_graph_lacks_is_named(converted_ema: Converted) -> None:
    tower = converted_ema.conversion.towers[0]
    other = Tower(0, "", "", (TensorSpec("input", "images:0", "float32", (-1,)),), tower.outputs)
    with pytest.raises(errors.EngineFailed, match=r"card 0: .*images:0"):
        TensorFlowEngine(converted_ema.path.read_bytes(), [other])


def test_an_input_that_the_graph_refuses_is_an_engine_failure(converted_ema: Converted) -> None:
    engine = loaded(converted_ema)
    with pytest.raises(errors.EngineFailed, match="TensorFlow failed on card 0"):
        engine.run(0, {"input": np.zeros((1, 9, 9, 1), np.float32)})
    engine.close()
