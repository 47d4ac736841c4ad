from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_service.engine import EngineCard, EngineReport, Precision
from inference_service.engine.devices import parse_devices
from inference_service.engine.engine_settings import EngineSettings
from inference_service.engine.installed import GROUP, InstalledEngine, installed_engines
from inference_service.loading.engine_choice import EngineChoice
from inference_service.loading.loader import Loader
from inference_service.loading.rules import LoadOptions
from service_kit import errors
from service_kit.artifacts.digest import sha256_of
from service_kit.artifacts.manifest import ArtifactFile, ArtifactFileKind
from service_kit.artifacts.proof_file import Proof, write_proof
from service_kit.store.artifact_store import ArtifactStore
from tests.support.engines import MeanEngine, MeanEngines
from tests.support.manifests import conversion, graph_file
from tests.support.plug_ins import installing

OPTIONS = LoadOptions(max_batch_size=1, replicate=True)
SETTINGS = EngineSettings(parse_devices("cpu:2"), 2)
PROBE = {"input": np.full((2, 2, 2, 3), 7, np.float32)}


def publish(
    store: ArtifactStore, folder: Path, *, answer: float = 7.0, proof: bool = True, **changes: Any
) -> None:
    """Publishes an artifact whose stored answers are those of an engine of means."""
    described = conversion(b"0", 2)
    if proof:
        answers = [{"probs": np.full((2, 3), answer, np.float32)} for _ in range(2)]
        behind = changes.pop("behind", {})
        path = write_proof(Proof({"sevens": PROBE}, {"sevens": answers}, behind=behind), folder)
        file = ArtifactFile(path.name, path.stat().st_size, sha256_of(path), ArtifactFileKind.PROOF)
        described = replace(described, files=(file,))
    described = replace(described, **changes)
    store.publish("m", described, graph_file(folder, b"0"))


class OffEngine(MeanEngine):
    """Answers too much."""

    def run(self, card: int, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"probs": super().run(card, inputs)["probs"] + np.float32(0.25)}


class DeadEngine(MeanEngine):
    def __init__(self, graph: bytes = b"", cards: Sequence[EngineCard] = ()) -> None:
        raise errors.EngineFailed("it has no rule for the ops Lgamma")


class NanEngine(MeanEngine):
    def run(self, card: int, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"probs": super().run(card, inputs)["probs"] * np.float32("nan")}


def engines(**made: MeanEngines) -> dict[str, InstalledEngine]:
    def make(name: str) -> Callable[[EngineSettings], MeanEngines]:
        return lambda _: made[name]

    return {name: InstalledEngine(name, "1.2", make(name)) for name in made}


def report_of(
    store: ArtifactStore,
    installed: Mapping[str, InstalledEngine],
    asked: str = "auto",
    options: LoadOptions = OPTIONS,
) -> EngineReport:
    choice = EngineChoice(asked, SETTINGS, installed, gpus=lambda: False)
    return Loader(store, choice).load("m", 1, options).engine_report


def test_on_the_cpu_openvino_runs_what_it_answers_as_stored(
    memory_store: ArtifactStore, tmp_path: Path
) -> None:
    publish(memory_store, tmp_path)
    openvino, tensorflow = MeanEngines(2), MeanEngines(2)
    report = report_of(memory_store, engines(openvino=openvino, tensorflow=tensorflow))
    assert (report.name, report.version, report.reason) == (
        "openvino",
        "1.2",
        "the fastest on the CPU",
    )
    assert report.parity is not None
    assert report.parity.passed
    # What different cards run is compared with its own tower's answers.
    subjects = [one.subject for one in report.parity.comparisons]
    assert subjects == [f"Card_{n} on openvino with the stored answers" for n in range(2)]
    assert report.parity.tolerance == 1e-5
    assert not tensorflow.made


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (DeadEngine, "openvino cannot: it has no rule for the ops Lgamma"),
        (OffEngine, "openvino cannot: its answers differ .* on sevens by 0.25, allowed are 7e-05"),
        (NanEngine, "openvino cannot: its answers differ"),
    ],
)
def test_what_openvino_cannot_tensorflow_does_and_the_reason_is_kept(
    memory_store: ArtifactStore, tmp_path: Path, make: type[MeanEngine], reason: str
) -> None:
    publish(memory_store, tmp_path)
    refused, tensorflow = MeanEngines(2, make), MeanEngines(2)
    report = report_of(memory_store, engines(openvino=refused, tensorflow=tensorflow))
    assert report.name == "tensorflow"
    assert report.parity is None
    assert re.match(reason, report.reason)
    assert all(one.closed for one in refused.made)


@pytest.mark.parametrize("asked", ["auto", "openvino"])
def test_without_tensorflow_it_is_refused_and_says_what_to_do(
    memory_store: ArtifactStore, tmp_path: Path, asked: str
) -> None:
    publish(memory_store, tmp_path)
    # Which is tried again: memory may come back.
    with pytest.raises(errors.EngineFailed) as caught:
        report_of(memory_store, engines(openvino=MeanEngines(2, DeadEngine)), asked)
    message = str(caught.value)
    assert message.startswith("convert the artifact again, or serve it with --engine tensorflow")
    assert message.endswith("openvino cannot: it has no rule for the ops Lgamma")


def test_who_asks_for_openvino_does_not_get_something_else(
    memory_store: ArtifactStore, tmp_path: Path
) -> None:
    publish(memory_store, tmp_path)
    both = engines(openvino=MeanEngines(2, OffEngine), tensorflow=MeanEngines(2))
    with pytest.raises(errors.EngineUnfit, match="its answers differ"):
        report_of(memory_store, both, "openvino")
    assert report_of(memory_store, both, "tensorflow").reason == "asked for"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"proof": False}, "no stored answers"),
        ({"behind": {0: "Card_0/x:0", 1: "Card_1/x:0"}}, "answers are random"),
        ({"parity": replace(conversion().parity, rows_by_inference=())}, "no proof that its out"),
    ],
)
def test_an_artifact_that_proves_less_falls_to_tensorflow(
    memory_store: ArtifactStore, tmp_path: Path, changes: Mapping[str, Any], reason: str
) -> None:
    publish(memory_store, tmp_path, **changes)
    both = engines(openvino=MeanEngines(2), tensorflow=MeanEngines(2))
    choice = EngineChoice("auto", SETTINGS, both, gpus=lambda: False)
    # Only its rows are looked for with TensorFlow itself, in a graph that is none here.
    if "parity" in changes:
        loaded = Loader(memory_store, choice).load("m", 1, OPTIONS)
        assert loaded.specs[0].whole
    report = Loader(memory_store, choice).load("m", 1, OPTIONS).engine_report
    assert report.name == "tensorflow"
    assert reason in report.reason


def test_without_tensorflow_unproven_rows_are_answered_whole(
    memory_store: ArtifactStore, tmp_path: Path
) -> None:
    publish(memory_store, tmp_path, parity=replace(conversion().parity, rows_by_inference=()))
    choice = EngineChoice("auto", SETTINGS, engines(openvino=MeanEngines(2)), gpus=lambda: False)
    loaded = Loader(memory_store, choice).load("m", 1, OPTIONS)
    assert loaded.engine_report.name == "openvino"
    assert all(spec.whole and not spec.packs for spec in loaded.specs)


def test_the_artifacts_own_tolerance_holds(memory_store: ArtifactStore, tmp_path: Path) -> None:
    wide = replace(conversion().parity, tolerance=0.1)
    publish(memory_store, tmp_path, parity=wide)
    report = report_of(memory_store, engines(openvino=MeanEngines(2, OffEngine)))
    assert report.parity is not None
    assert report.parity.worst == pytest.approx(0.25)


def test_a_damaged_proof_is_a_damaged_artifact(store: ArtifactStore, tmp_path: Path) -> None:
    publish(store, tmp_path)
    (tmp_path / "models" / "m" / "1" / "parity.npz").write_bytes(b"x")
    both = engines(openvino=MeanEngines(2), tensorflow=MeanEngines(2))
    with pytest.raises(errors.ArtifactCorrupt, match=r"parity\.npz has 1 bytes"):
        report_of(store, both)


def test_a_precision_has_its_own_tolerance_and_no_other_engine(
    memory_store: ArtifactStore, tmp_path: Path
) -> None:
    publish(memory_store, tmp_path)
    both = engines(openvino=MeanEngines(2, OffEngine), tensorflow=MeanEngines(2))
    allowed = replace(OPTIONS, precision=Precision.BF16, precision_tolerance=0.05)
    report = report_of(memory_store, both, options=allowed)
    assert (report.name, report.precision) == ("openvino", Precision.BF16)
    assert report.reason == "bf16 is asked for"
    assert report.parity is not None
    assert report.parity.comparisons[0].allowed_difference == pytest.approx(0.35)
    too_much = replace(allowed, precision_tolerance=0.01)
    with pytest.raises(errors.EngineUnfit, match="its answers differ"):
        report_of(memory_store, both, options=too_much)


def test_gpus_are_tensorflows(memory_store: ArtifactStore) -> None:
    class Gpus(MeanEngines):
        def devices(self) -> Any:
            return parse_devices("gpu:0").devices

    both = engines(openvino=MeanEngines(2), tensorflow=Gpus())
    for asked, driver in (("auto", True), ("gpu:0", False)):
        settings = EngineSettings(parse_devices(asked), 2)
        choice = EngineChoice("auto", settings, both, gpus=partial(bool, driver))
        assert [str(one) for one in choice.devices()] == ["gpu:0"]
    # Nobody is asked where no driver is.
    lone = EngineChoice("auto", replace(SETTINGS, request=parse_devices("auto")), both, gpus=bool)
    assert [str(one) for one in lone.devices()] == ["cpu:0", "cpu:1"]


def test_a_server_without_any_engine_says_how_to_get_one() -> None:
    with pytest.raises(errors.InvalidRequest, match=r"pbserve\[openvino\].*pbserve\[server\]"):
        EngineChoice("auto", SETTINGS, {})


CODE = """
from tests.support.engines import MeanEngines
def make(settings):
    return MeanEngines(settings.cores)
"""


def test_a_third_engine_comes_by_entry_point_and_is_checked_too(
    memory_store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(memory_store, tmp_path)
    with installing(GROUP, tmp_path / "site", monkeypatch) as install:
        install("mean", "make", CODE)
        report = report_of(memory_store, installed_engines(), "mean")
    assert (report.name, report.version) == ("mean", "1.0")
    assert report.parity is not None
    assert report.parity.passed
