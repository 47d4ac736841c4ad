from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

pytest.importorskip("openvino", reason="the extra `openvino` is not installed")

from inference_service.engine import EngineCard, Precision
from inference_service.engine.compiled_cache import CompiledCache
from inference_service.engine.devices import Device, parse_devices, place_cards
from inference_service.engine.engine_settings import EngineSettings
from inference_service.engine.openvino import OpenVINOEngine, OpenVINOEngines
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec, Tower
from tests.support.digits import GOLDEN, PARITY, expected

DIGITS = (GOLDEN / "multi.pb").read_bytes()


def digits(index: int) -> Tower:
    return Tower(
        index,
        f"Card_{index}",
        "",
        (TensorSpec("input", f"Card_{index}/input:0", "float32", (-1, 32, 32, 3)),),
        (TensorSpec("probs", f"Card_{index}/probs:0", "float32", (-1, 10)),),
    )


def loaded(
    graph: bytes,
    towers: Sequence[Tower],
    devices: str = "cpu:2",
    precision: Precision = Precision.F32,
    allowed_ops: Sequence[str] = (),
) -> OpenVINOEngine:
    """Returns an engine with all cards prepared, as the loader has it."""
    settings = EngineSettings(parse_devices(devices), 2, allowed_ops=frozenset(allowed_ops))
    engines = OpenVINOEngines(settings)
    places = place_cards(len(towers), engines.devices(), replicate=True)
    cards = [EngineCard(towers[p.tower], p.device, precision) for p in places]
    engine = engines.load(graph, cards)
    for place in places:
        engine.prepare(place.card)
    return engine


def tower_of(inputs: Sequence[str], outputs: Sequence[str], dtype: str = "float32") -> Tower:
    """Returns a tower with tensors `[images, 4]`, named as in the graph."""
    return Tower(
        0,
        "",
        "",
        tuple(TensorSpec(name, name, "float32", (-1, 4)) for name in inputs),
        tuple(TensorSpec(name, name, dtype, (-1, 4)) for name in outputs),
    )


def frozen(build: Callable[[Any], Any]) -> bytes:
    """Returns a graph from `x`, [images, 4], to `y`."""
    with tf.Graph().as_default() as graph:
        tf.identity(build(tf.placeholder(tf.float32, [None, 4], name="x")), name="y")
    content: bytes = graph.as_graph_def().SerializeToString()
    return content


def rows(images: int) -> Any:
    return np.arange(images * 4, dtype=np.float32).reshape(images, 4)


def test_every_card_answers_as_tensorflow_1_15_has() -> None:
    engine = loaded(DIGITS, [digits(0), digits(1)])
    images, golden = expected()["images"].astype(np.float32), expected()["probs_ema"]
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda card: engine.run(card, {"input": images}), (0, 1)))
    for one in found:
        assert np.abs(one["probs"] - golden).max() < PARITY
    engine.close()


def test_equal_towers_are_compiled_once_and_different_ones_apart() -> None:
    engine = loaded(DIGITS, [digits(0), digits(1)], devices="cpu:3")
    assert [engine.prepare(card) for card in range(3)] == [0, 0, 0]

    def two(x: Any) -> Any:
        tf.identity(x * 3, name="z")
        return x * 2

    graph = frozen(two)
    apart = loaded(graph, [tower_of(["x:0"], ["y:0"]), tower_of(["x:0"], ["z:0"])])
    assert [apart.prepare(card) for card in range(2)] == [0, 1]
    assert apart.run(1, {"x:0": rows(1)})["z:0"][0, 1] == 3


def test_batches_of_any_size_follow_each_other_and_answers_stay() -> None:
    engine = loaded(frozen(lambda x: x * 2), [tower_of(["x:0"], ["y:0"])])
    first = engine.run(0, {"x:0": rows(3)})["y:0"]
    for images in (1, 8, 2):
        np.testing.assert_array_equal(engine.run(0, {"x:0": rows(images)})["y:0"], rows(images) * 2)
    np.testing.assert_array_equal(first, rows(3) * 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda batch: np.frombuffer(batch.tobytes(), np.float32).reshape(batch.shape),
        lambda batch: np.repeat(batch, 2, axis=0)[::2],
        lambda batch: np.frombuffer(b"x" + batch.tobytes(), np.float32, offset=1).reshape(-1, 4),
        lambda batch: np.broadcast_to(batch[:1], batch.shape),
        np.asfortranarray,
    ],
    ids=["read-only", "strided", "unaligned", "repeated", "columns first"],
)
def test_a_batch_is_read_where_it_is_however_it_lies(change: Callable[[Any], Any]) -> None:
    engine = loaded(frozen(lambda x: tf.nn.relu(x - 5.0)), [tower_of(["x:0"], ["y:0"])])
    batch = change(rows(4))
    before = batch.copy()
    found = engine.run(0, {"x:0": batch})["y:0"]
    np.testing.assert_array_equal(found, np.maximum(before - 5, 0))
    np.testing.assert_array_equal(batch, before)


def test_a_tower_may_begin_and_end_anywhere_in_the_graph() -> None:
    def build(x: Any) -> Any:
        tf.split(x, 2, axis=1, name="halves")
        middle = tf.identity(x + 1, name="middle")
        return middle * tf.placeholder(tf.float32, [None, 4], name="w")

    graph = frozen(build)
    inside = loaded(graph, [tower_of(["middle:0", "w:0"], ["y:0"])])
    found = inside.run(0, {"middle:0": rows(2), "w:0": rows(2)})
    np.testing.assert_array_equal(found["y:0"], rows(2) ** 2)
    several = loaded(graph, [tower_of(["x:0", "w:0"], ["middle:0", "y:0", "x:0"])])
    outputs = several.run(0, {"x:0": rows(2), "w:0": rows(2)})
    np.testing.assert_array_equal(outputs["middle:0"], rows(2) + 1)
    np.testing.assert_array_equal(outputs["y:0"], (rows(2) + 1) * rows(2))
    np.testing.assert_array_equal(outputs["x:0"], rows(2))
    half = loaded(graph, [tower_of(["x:0"], ["halves:1"])]).run(0, {"x:0": rows(1)})
    np.testing.assert_array_equal(half["halves:1"], [[2, 3]])


def test_whole_numbers_come_in_the_graphs_dtype() -> None:
    engine = loaded(frozen(lambda x: tf.argmax(x, 1)), [tower_of(["x:0"], ["y:0"], dtype="int64")])
    found = engine.run(0, {"x:0": rows(2)})["y:0"]
    assert found.dtype == np.int64
    assert found.tolist() == [3, 3]


def test_a_graph_that_it_cannot_read_is_refused_by_the_ops_name() -> None:
    with pytest.raises(errors.EngineFailed, match=r"no rule for the ops Lgamma$"):
        loaded(frozen(tf.math.lgamma), [tower_of(["x:0"], ["y:0"])])


def test_an_op_that_reaches_out_of_the_graph_is_refused_before_it_is_read() -> None:
    graph = frozen(lambda x: x + tf.strings.to_number(tf.io.read_file("/etc/hostname")))
    with pytest.raises(errors.GraphRefused, match="ReadFile"):
        loaded(graph, [tower_of(["x:0"], ["y:0"])])
    # Where the operator allows it, it is this engine's own business.
    with pytest.raises(errors.EngineFailed, match="ReadFile"):
        loaded(graph, [tower_of(["x:0"], ["y:0"])], allowed_ops=["ReadFile"])


@pytest.mark.parametrize(
    ("graph", "tower", "words"),
    [
        (b"no graph", tower_of(["x:0"], ["y:0"]), "cannot be parsed"),
        (frozen(lambda x: x), tower_of(["x:0"], ["nothing:0"]), "no node 'nothing'"),
    ],
    # Not of the graphs themselves, whose attributes come in any order.
    ids=["no graph", "no such node"],
)
def test_what_is_no_such_graph_is_said(graph: bytes, tower: Tower, words: str) -> None:
    with pytest.raises(errors.EngineFailed, match=words):
        loaded(graph, [tower])


def test_a_batch_that_fails_says_why_and_the_next_one_runs() -> None:
    engine = loaded(frozen(lambda x: tf.reshape(x, [4, 4])), [tower_of(["x:0"], ["y:0"])])
    with pytest.raises(errors.EngineFailed, match="OpenVINO failed on card 0"):
        engine.run(0, {"x:0": rows(3)})
    assert engine.run(0, {"x:0": rows(4)})["y:0"].shape == (4, 4)


def test_it_is_for_the_cpu_alone() -> None:
    settings = EngineSettings(parse_devices("gpu:0"), 2)
    with pytest.raises(errors.InvalidRequest, match=r"--devices cpu:N.*gpu:0"):
        OpenVINOEngines(settings).devices()
    assert len(OpenVINOEngines(replace(settings, request=parse_devices("auto"))).devices()) == 2


def test_a_precision_that_the_processor_has_not_is_refused() -> None:
    openvino = sys.modules["openvino"]
    has = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    for precision, capability in ((Precision.BF16, "BF16"), (Precision.F16, "FP16")):
        tower = tower_of(["x:0"], ["y:0"])
        if capability in has:
            loaded(frozen(lambda x: x * 2), [tower], precision=precision).close()
        else:
            with pytest.raises(errors.EngineUnfit, match=f"not compute in {precision.value}"):
                loaded(frozen(lambda x: x * 2), [tower], precision=precision)


# In a process of its own: this one has TensorFlow.
ALONE = """
import sys
sys.modules["tensorflow"] = None
from pathlib import Path
from inference_service.engine import EngineCard
from inference_service.engine.devices import parse_devices
from inference_service.engine.engine_settings import EngineSettings
from inference_service.engine.openvino import OpenVINOEngines
from service_kit.artifacts.manifest import TensorSpec, Tower
import numpy as np

tower = Tower(0, "", "",
    (TensorSpec("input", "Card_0/input:0", "float32", (-1, 32, 32, 3)),),
    (TensorSpec("probs", "Card_0/probs:0", "float32", (-1, 10)),))
engines = OpenVINOEngines(EngineSettings(parse_devices("cpu:1"), 1))
engine = engines.load(Path(sys.argv[1]).read_bytes(), [EngineCard(tower, engines.devices()[0])])
engine.prepare(0)
assert engine.run(0, {"input": np.ones((1, 32, 32, 3), np.float32)})["probs"].shape == (1, 10)
told = [name for name in sys.modules if "telemetry" in name or name.startswith("openvino.tools")]
assert not told, told
"""


def test_it_runs_without_tensorflow_and_imports_nothing_that_tells_anybody() -> None:
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(GOLDEN / "multi.pb")],
        capture_output=True, text=True, timeout=100, check=False, cwd=root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def cached(folder: Path, graph: bytes, towers: Sequence[Tower], **changes: Any) -> OpenVINOEngine:
    settings = replace(EngineSettings(parse_devices("cpu:2"), 2, cache=folder), **changes)
    cards = [EngineCard(towers[n % len(towers)], Device("cpu", n)) for n in range(2)]
    engine = OpenVINOEngines(settings).load(graph, cards)
    for card in range(2):
        engine.prepare(card)
    return engine


def two_ways(x: Any) -> Any:
    tf.identity(x * 3, name="z")
    return x * 2


def test_what_was_compiled_is_taken_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    graph = frozen(two_ways)
    towers = [tower_of(["x:0"], ["y:0"]), tower_of(["x:0"], ["z:0"])]
    cached(folder, graph, towers).close()
    assert len(list(folder.iterdir())) == 1

    def never(*_: Any) -> Any:
        raise AssertionError("the graph is read again")

    monkeypatch.setattr("inference_service.engine.openvino.parse_graph_as", never)
    engine = cached(folder, graph, towers)
    assert engine.run(0, {"x:0": rows(2)})["y:0"][0, 1] == 2
    assert engine.run(1, {"x:0": rows(2)})["z:0"][0, 1] == 3
    engine.close()
    # Whatever else decides what is compiled, or whether it may run, has a file of its own.
    for changes in ({"threads": 2}, {"allowed_ops": frozenset(["ReadFile"])}):
        with pytest.raises(AssertionError, match="read again"):
            cached(folder, graph, towers, **changes)
    for other in (towers[::-1], towers[:1]):
        with pytest.raises(AssertionError, match="read again"):
            cached(folder, graph, other)


def test_a_file_that_is_not_openvinos_is_compiled_anew(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    towers = [tower_of(["x:0"], ["y:0"])]
    cached(folder, frozen(two_ways), towers).close()
    (file,) = folder.iterdir()
    pieces = CompiledCache(folder).get(file.name.removesuffix(".compiled"))
    assert pieces is not None
    CompiledCache(folder).put(file.name.removesuffix(".compiled"), [pieces[0], b"nothing"])
    engine = cached(folder, frozen(two_ways), towers)
    assert engine.run(0, {"x:0": rows(2)})["y:0"][0, 1] == 2
    assert len(file.read_bytes()) > 100


def test_an_installation_that_cannot_be_imported_is_unfit(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Any:
        raise ImportError("libtbb.so.12: cannot open shared object file")

    monkeypatch.setattr("inference_service.engine.openvino.import_openvino", fails)
    with pytest.raises(errors.EngineUnfit, match=r"cannot be imported: libtbb\.so\.12"):
        loaded(DIGITS, [digits(0)])
