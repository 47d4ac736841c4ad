"""Every route to an artifact through a running exporter: .meta, adoption, verification, retries."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter_service.client import ExporterClient
from exporter_service.formats.extra_format import ExtraFormat
from exporter_service.specs.conversion import AdoptionRequest, TowerOptions
from service_kit import errors
from service_kit.artifacts.manifest import ArchitectureSpec, CheckpointFormat, Manifest
from service_kit.store.local_mark import MARK
from tests.conftest import RunningExporter
from tests.support.digits import GOLDEN, digits_request
from tests.support.services import running

META = ArchitectureSpec("META_GRAPH", {})


def converted(address: str, **changes: Any) -> Manifest:
    with ExporterClient(address) as client:
        *_, manifest = client.convert(digits_request(**changes))
    assert isinstance(manifest, Manifest)
    return manifest


def refused(address: str, **changes: Any) -> errors.PbserveError:
    with pytest.raises(errors.PbserveError) as caught:
        converted(address, **changes)
    return caught.value


def test_a_training_graph_is_converted_verified_and_described(exporter: RunningExporter) -> None:
    manifest = converted(
        exporter.address, model="from-meta", architecture=META, towers=TowerOptions(cards=2),
        preprocessing=None, formats=(ExtraFormat.SAVED_MODEL,),
    )  # fmt: skip
    assert manifest.meta_graph is not None
    assert manifest.meta_graph.batch_norms_switched == 24
    assert manifest.meta_graph.inputs[0].upstream["TensorDataset"] == 1
    assert manifest.architecture.name == "META_GRAPH"
    folder = exporter.store / "from-meta" / "1"
    assert {path.name for path in folder.iterdir()} == {
        "multi_frozen_model.pb", "saved_model.pb", "parity.npz", "manifest.json",
        "manifest.json.sha256",
    }  # fmt: skip
    with ExporterClient(exporter.address) as client:
        report = client.verify("from-meta")
        assert report.passed
        assert len(report.comparisons) == len(manifest.parity.comparisons)


@pytest.mark.parametrize("name", ["frozen_model.pb", "parity.npz"])
def test_verifying_says_when_bytes_have_changed(exporter: RunningExporter, name: str) -> None:
    model = f"bytes-{name[0]}"
    converted(exporter.address, model=model, cards=1)
    path = exporter.store / model / "1" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with (
        ExporterClient(exporter.address) as client,
        pytest.raises(errors.ArtifactCorrupt, match=f"{name} has SHA-256"),
    ):
        client.verify(model, 1)


def test_a_frozen_graph_without_a_manifest_is_adopted(exporter: RunningExporter) -> None:
    with ExporterClient(exporter.address) as client:
        manifest = client.adopt(AdoptionRequest("adopted", None, "multi.pb"))
        assert manifest.checkpoint.format is CheckpointFormat.FROZEN_GRAPH
        assert [tower.scope for tower in manifest.towers] == ["Card_0", "Card_1"]
        assert client.verify("adopted", 1).passed
        for path, cls in (
            ("../other.pb", errors.OutsideRoots),
            ("none.pb", errors.CheckpointNotFound),
            ("digits.npz", errors.Unconvertible),
            ("", errors.InvalidRequest),
        ):
            with pytest.raises(cls):
                client.adopt(AdoptionRequest("adopted", None, path))
    assert sorted(p.name for p in (exporter.store / "adopted").iterdir()) == ["1"]


def test_a_retry_with_the_same_id_is_answered_with_the_same_artifact(
    exporter: RunningExporter,
) -> None:
    first = converted(exporter.address, model="again", cards=1, request_id="a-1")
    again = converted(exporter.address, model="again", cards=1, request_id="a-1")
    assert again == first
    assert first.request_id == "a-1"
    error = refused(exporter.address, model="again", cards=2, request_id="a-1")
    assert isinstance(error, errors.InvalidRequest)
    assert "used for another request" in str(error)


def test_an_inspection_describes_the_training_graph(exporter: RunningExporter) -> None:
    with ExporterClient(exporter.address) as client:
        contents = client.inspect("ckpt_ema")
        assert client.inspect("ckpt_sharded").meta_graph is None
    graph = contents.meta_graph
    assert graph is not None
    assert graph.node_count == 5017
    assert graph.inputs[0].tensor_name == "IteratorGetNext:0"
    assert graph.inputs[0].reaches_output
    assert graph.outputs[0].kind == "Softmax"
    assert graph.outputs[0].training
    assert graph.batch_norms == {"fused, training": 24}
    assert (graph.dropout_count, graph.averaged_variables) == (0, 73)


@dataclass(frozen=True)
class Hostile:
    """An exporter over checkpoints that a test may damage."""

    address: str
    root: Path
    store: Path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    folder = tmp_path_factory.mktemp("hostile")
    options = ("--store", str(folder / "models"), "--checkpoint-root", str(folder / "root"),
               "--spare-workers", "0", "--conversion-timeout", "60",
               "--worker-memory", "3000")  # fmt: skip
    (folder / "root").mkdir()
    with running("exporter_service", *options, log=folder / "log") as service:
        yield Hostile(service.address, folder / "root", folder / "models")


def endless() -> bytes:
    """A graph whose functions call each other twice each, 60 levels deep."""
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

    path = GOLDEN / "ckpt_ema" / "model.ckpt-300.meta"
    meta = MetaGraphDef.FromString(path.read_bytes())
    for level in range(60):
        function = meta.graph_def.library.function.add()
        function.signature.name = f"f{level}"
        function.signature.input_arg.add(name="x", type=1)
        function.signature.output_arg.add(name="y", type=1)
        text = "x"
        for number in range(2):
            call = function.node_def.add(name=f"c{number}", op="PartitionedCall", input=[text])
            call.attr["f"].func.name = f"f{level + 1}" if level < 59 else "f59"
            call.attr["Tin"].list.type.append(1)
            call.attr["Tout"].list.type.append(1)
            text = f"c{number}:output:0"
        function.ret["y"] = text
    probs = "densenet_digits/predictions/Softmax"
    node = meta.graph_def.node.add(name="deep", op="PartitionedCall", input=[probs])
    node.attr["f"].func.name = "f0"
    node.attr["Tin"].list.type.append(1)
    node.attr["Tout"].list.type.append(1)
    return bytes(meta.SerializeToString())


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (lambda: np.random.default_rng(1).bytes(10_000_000), {}),
        (lambda: (GOLDEN / "ckpt_ema" / "model.ckpt-300.meta").read_bytes()[:-1000], {}),
        (endless, {"outputs": ["deep"]}),
    ],
    ids=["noise", "truncated", "circle"],
)
def test_a_hostile_meta_costs_its_own_request_alone(
    hostile: Hostile, request: pytest.FixtureRequest, make: Any, parameters: dict[str, Any]
) -> None:
    name = request.node.callspec.id
    shutil.copytree(GOLDEN / "ckpt_ema", hostile.root / name)
    (hostile.root / name / "model.ckpt-300.meta").write_bytes(make())
    error = refused(
        hostile.address, model=name, checkpoint=name, preprocessing=None,
        architecture=ArchitectureSpec("META_GRAPH", parameters), towers=TowerOptions(),
    )  # fmt: skip
    assert isinstance(
        error, (errors.MetaGraphUnusable, errors.ConversionTooLarge, errors.ConversionTimedOut)
    )
    # The service is still there.
    with ExporterClient(hostile.address) as client:
        assert (client.inspect(name).meta_graph_problem == "") is (name == "circle")


def test_a_checkpoint_with_a_hostile_meta_is_converted_without_it(hostile: Hostile) -> None:
    shutil.copytree(GOLDEN / "ckpt_ema", hostile.root / "without")
    (hostile.root / "without" / "model.ckpt-300.meta").write_bytes(b"\xff" * 10_000)
    made = converted(hostile.address, model="without", checkpoint="without", cards=1)
    assert made.version == 1


def test_a_deadline_that_passes_ends_the_conversion(hostile: Hostile) -> None:
    shutil.copytree(GOLDEN / "ckpt_noema", hostile.root / "deadline", dirs_exist_ok=True)
    request = digits_request(model="deadline", checkpoint="deadline")
    with ExporterClient(hostile.address) as client:
        # Without a spare, TensorFlow alone takes longer to come up.
        with pytest.raises(errors.PbserveError, match=r"(?i)deadline"):
            list(client.convert(request, timeout=0.3))
        # Its place is free again.
        *_, manifest = client.convert(request)
    assert isinstance(manifest, Manifest)
    assert manifest.version == 1


def test_a_store_that_takes_no_more_is_a_clear_error(tmp_path: Path) -> None:
    import resource

    from service_kit.store.artifact_store import ArtifactStore
    from tests.support.manifests import conversion, graph_file

    store = ArtifactStore(str(tmp_path / "models"))
    store.create()
    content = b"x" * 100_000
    graph = graph_file(tmp_path, content)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The kernel refuses to let files grow, as it does on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(errors.StoreUnavailable, match="cannot publish model m in the store"):
            store.publish("m", conversion(content), graph)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.published() == {}
    assert [path.name for path in (tmp_path / "models").iterdir()] == [MARK]
