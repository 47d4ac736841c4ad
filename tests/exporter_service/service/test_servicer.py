from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from exporter_service.client import ConversionProgress, ExporterClient
from exporter_service.specs.progress import Step
from service_kit import errors
from service_kit.artifacts.manifest import ArchitectureSpec, Manifest, MovingAverageMode
from service_kit.store.artifact_store import ArtifactStore
from service_kit.store.local_mark import MARK
from tests.conftest import RunningExporter
from tests.support.digits import GOLDEN, digits_request
from tests.support.manifests import conversion, graph_file
from tests.support.services import conversion_process, running


def converted(address: str, **changes: Any) -> tuple[list[ConversionProgress], Manifest]:
    with ExporterClient(address) as client:
        *progress, manifest = client.convert(digits_request(**changes))
    assert isinstance(manifest, Manifest)
    return [p for p in progress if isinstance(p, ConversionProgress)], manifest


def refused(address: str, **changes: Any) -> errors.PbserveError:
    with ExporterClient(address) as client, pytest.raises(errors.PbserveError) as caught:
        list(client.convert(digits_request(**changes)))
    return caught.value


def published(
    exporter: RunningExporter, folder: Path, model: str, version: int | None = None
) -> None:
    """Puts an artifact into the store that no conversion has made."""
    store = ArtifactStore(str(exporter.store))
    store.publish(model, conversion(), graph_file(folder), version)


Steps = tuple[list[ConversionProgress], Manifest]


@pytest.fixture(scope="module")
def steps(exporter: RunningExporter) -> Steps:
    """What was told of one conversion, and its manifest."""
    return converted(exporter.address, model="steps", cards=3)


def test_a_conversion_streams_its_steps_and_ends_with_the_published_manifest(
    exporter: RunningExporter, steps: Steps
) -> None:
    progress, manifest = steps
    assert [p.step for p in progress] == [
        step for step in Step if step not in (Step.QUEUED, Step.FORMAT)
    ]
    fractions = [p.fraction for p in progress]
    assert fractions == sorted(fractions)
    assert all(p.elapsed >= 0 for p in progress)
    assert (manifest.model, manifest.version, len(manifest.towers)) == ("steps", 1, 3)
    store = ArtifactStore(str(exporter.store))
    assert store.manifest("steps", 1) == manifest
    assert len(store.graph(manifest)) == manifest.graph.size_bytes


def test_the_manifest_on_disk_is_json_that_people_can_read(
    exporter: RunningExporter, steps: Steps
) -> None:
    _, manifest = steps
    folder = exporter.store / "steps" / "1"
    assert sorted(path.name for path in folder.iterdir()) == [
        "manifest.json", "manifest.json.sha256", "multi_frozen_model.pb", "parity.npz"
    ]  # fmt: skip
    document = json.loads((folder / "manifest.json").read_text())
    assert document["towers"][2]["inputs"][0]["tensor_name"] == "Card_2/input:0"
    assert document["graph"]["sha256"] == manifest.graph.sha256


def test_the_server_never_loads_tensorflow(exporter: RunningExporter) -> None:
    with ExporterClient(exporter.address) as client:
        client.inspect("ckpt_noema")
    maps = Path(f"/proc/{exporter.service.pid}/maps").read_text()
    assert "tensorflow" not in maps


@pytest.mark.parametrize(
    ("changes", "cls", "words"),
    [
        ({"checkpoint": "../digits_other"}, errors.OutsideRoots, "outside the folders"),
        ({"checkpoint": "/etc/passwd"}, errors.OutsideRoots, "outside the folders"),
        ({"checkpoint": "ckpt_none"}, errors.CheckpointNotFound, "ckpt_none.index"),
        ({"architecture": ArchitectureSpec("resnet", {})}, errors.ArchitectureNotFound, "densenet"),
        (
            {"architecture": ArchitectureSpec("densenet121", {"classes": 10})},
            errors.CheckpointMismatch,
            "missing 606",
        ),
        (
            {"checkpoint": "ckpt_noema", "moving_average": MovingAverageMode.REQUIRED},
            errors.MovingAverageMissing,
            "of 73 trainable variables",
        ),
        ({"model": "../up"}, errors.InvalidRequest, "not allowed"),
        ({"cards": 65}, errors.InvalidRequest, "cards is 65"),
    ],
)
def test_bad_input_is_a_clear_error_and_the_store_stays_as_it_was(
    exporter: RunningExporter, changes: dict[str, Any], cls: type[Exception], words: str
) -> None:
    before = sorted(exporter.store.rglob("*"))
    error = refused(exporter.address, **{"model": "bad", **changes})
    assert type(error) is cls
    assert words in str(error)
    assert sorted(exporter.store.rglob("*")) == before


def test_a_taken_version_is_refused_before_any_work(
    exporter: RunningExporter, tmp_path: Path
) -> None:
    published(exporter, tmp_path, "taken", version=5)
    error = refused(exporter.address, model="taken", version=5, cards=1)
    assert isinstance(error, errors.VersionTaken)
    _, manifest = converted(exporter.address, model="taken", cards=1)
    assert manifest.version == 6


def test_damaged_data_is_data_loss_with_tensor_and_shard(tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(GOLDEN / "ckpt_sharded", root / "damaged")
    os.truncate(root / "damaged" / "model.ckpt-300.data-00000-of-00002", 1000)
    options = ("--store", str(tmp_path / "models"), "--checkpoint-root", str(root))
    with running("exporter_service", *options, log=tmp_path / "log") as service:
        error = refused(service.address, checkpoint="damaged")
    assert isinstance(error, errors.CheckpointCorrupt)
    assert "tensor densenet_digits/" in str(error)
    assert "model.ckpt-300.data-00000-of-00002 (shard 0)" in str(error)
    assert [path.name for path in (tmp_path / "models").iterdir()] == [MARK]


@pytest.mark.parametrize("step", [Step.READ, Step.BUILD])
def test_a_killed_conversion_leaves_no_trace_and_the_next_one_works(
    exporter: RunningExporter, step: Step
) -> None:
    before = sorted(exporter.store.rglob("*"))
    model = f"killed-{step.name.lower()}"
    with ExporterClient(exporter.address) as client:
        events = client.convert(digits_request(model=model))
        for event in events:
            if isinstance(event, ConversionProgress) and event.step is step:
                os.kill(conversion_process(exporter.service), signal.SIGKILL)
                break
        with pytest.raises(errors.ConversionCrashed, match=r"SIGKILL.*nothing was published"):
            list(events)
    assert sorted(exporter.store.rglob("*")) == before
    _, manifest = converted(exporter.address, model=model)
    assert manifest.version == 1


def test_a_client_that_goes_away_stops_its_conversion(exporter: RunningExporter) -> None:
    with ExporterClient(exporter.address) as client:
        events = client.convert(digits_request(model="left"))
        next(event for event in events if getattr(event, "step", None) is Step.READ)
    # The next conversion gets the only place as soon as the left one is gone.
    progress, _ = converted(exporter.address, model="right", cards=1)
    assert progress[-1].step is Step.PUBLISH
    assert not (exporter.store / "left").exists()


def test_a_checkpoint_is_described(exporter: RunningExporter) -> None:
    with ExporterClient(exporter.address) as client:
        contents = client.inspect("ckpt_sharded")
    assert (contents.shard_count, contents.checkpoint.global_step) == (2, 300)
    assert (len(contents.tensors), contents.shadow_count) == (195, 73)
    assert contents.tensors["densenet_digits/conv1/weights"].shape == (7, 7, 3, 16)
    assert [spec.name for spec in contents.fitting] == ["densenet"]
    assert contents.fitting[0].parameters["growth_rate"] == 8


def test_artifacts_are_listed_read_and_deleted(exporter: RunningExporter, tmp_path: Path) -> None:
    for _ in range(2):
        published(exporter, tmp_path, "listed")
    with ExporterClient(exporter.address) as client:
        assert [m.version for m in client.artifacts("listed")[0]] == [1, 2]
        assert client.artifact("listed").version == 2
        assert client.artifact("listed", 1).version == 1
        client.delete("listed", 2)
        assert client.artifact("listed").version == 1
        with pytest.raises(errors.ArtifactNotFound, match="no version 2; it has 1"):
            client.delete("listed", 2)
        with pytest.raises(errors.ArtifactNotFound, match="no model unheard"):
            client.artifact("unheard")
        (exporter.store / "listed" / "1" / "manifest.json").write_text("{")
        manifests, unreadable = client.artifacts("listed")
        assert manifests == []
        assert unreadable[0].startswith("listed/1: ")
        client.delete("listed", 1)


def test_architectures_are_listed_with_their_parameters(exporter: RunningExporter) -> None:
    with ExporterClient(exporter.address) as client:
        found = {architecture.name: architecture for architecture in client.architectures()}
    own = {"META_GRAPH", "densenet", "densenet121", "densenet161", "densenet169"}
    assert own <= set(found)
    assert "slim/resnet_v1_50" in found
    assert found["densenet"].parameter_schema["properties"]["growth_rate"]["default"] == 32
    assert "growth_rate" not in found["densenet169"].parameter_schema["properties"]
    assert "bindings" in found["META_GRAPH"].parameter_schema["properties"]


def test_reflection_describes_the_service(exporter: RunningExporter) -> None:
    request = reflection_pb2.ServerReflectionRequest(
        file_containing_symbol="pbserve.exporter.v1.ExporterService"
    )
    with grpc.insecure_channel(exporter.address) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        (answer,) = stub.ServerReflectionInfo(iter([request]))
    assert any(
        b"ConvertCheckpoint" in f for f in answer.file_descriptor_response.file_descriptor_proto
    )


def test_a_service_that_is_not_there_is_a_clear_error() -> None:
    error = refused("127.0.0.1:1")
    assert isinstance(error, errors.ServerStopping)
    assert "nothing listens on " in str(error)
