"""The rules between modules, read from the import statements themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("service_kit", "exporter_service", "inference_service")
# Modules that run where TensorFlow may be loaded.
WITH_TENSORFLOW = {
    "exporter_service.graphs.augmentation",
    "exporter_service.conversion.architecture_graph",
    "exporter_service.conversion.adopt",
    "exporter_service.architectures.densenet",
    "exporter_service.architectures.slim_builder",
    "exporter_service.architectures.tracing",
    "exporter_service.checkpoints.checkpoint",
    "exporter_service.conversion.convert",
    "exporter_service.formats.onnx_model",
    "exporter_service.formats.saved_model",
    "exporter_service.formats.tensor_type",
    "exporter_service.graphs.freezing",
    "exporter_service.conversion.inspect",
    "exporter_service.meta_graph.rewriting.batch_norm",
    "exporter_service.meta_graph.rewriting.bindings",
    "exporter_service.meta_graph.towers.build",
    "exporter_service.meta_graph.reading.constants",
    "exporter_service.meta_graph.rewriting.phases",
    "exporter_service.meta_graph.detection.average_arithmetic",
    "exporter_service.meta_graph.rewriting.conditions",
    "exporter_service.meta_graph.rewriting.fixed_batch",
    "exporter_service.meta_graph.rewriting.initial_state",
    "exporter_service.meta_graph.reading.inlining",
    "exporter_service.meta_graph.reading.meta_file",
    "exporter_service.meta_graph.reading.op_allowance",
    "exporter_service.meta_graph.reading.op_defs",
    "exporter_service.meta_graph.rewriting.pruning",
    "exporter_service.meta_graph.towers.replication",
    "exporter_service.meta_graph.reading.variables",
    "exporter_service.graphs.preprocessing",
    "exporter_service.parity.proof",
    "exporter_service.parity.served_proof",
    "exporter_service.graphs.session",
    "exporter_service.graphs.tower_copy",
    "exporter_service.graphs.towers",
    "inference_service.engine.session",
    "inference_service.engine.tensorflow",
    "service_kit.frozen_graph.graph_import",
    "service_kit.frozen_graph.row_branches",
    "service_kit.frozen_graph.row_origin",
    "service_kit.frozen_graph.rows",
    "service_kit.frozen_graph.served_graph",
    "service_kit.frozen_graph.tower_graph",
}
# Decisions: values in, values out.
PURE = {
    "exporter_service.checkpoints.key_rewrites",
    "exporter_service.architectures.key_suggestion",
    "exporter_service.checkpoints.moving_average",
    "inference_service.cards.batch_limit",
    "inference_service.cards.batch_tensors",
    "inference_service.cards.batching",
    "inference_service.cards.health",
    "inference_service.cards.places",
    "inference_service.cards.deadlines",
    "inference_service.engine.devices",
    "inference_service.models.dispatch",
    "inference_service.images.jpeg_scans",
    "inference_service.models.labels",
    "inference_service.loading.load_failures",
    "inference_service.loading.model_list",
    "inference_service.loading.rules",
    "inference_service.loading.models_file",
    "inference_service.protocols.open_inference.byte_elements",
    "inference_service.protocols.open_inference.classification",
    "inference_service.protocols.open_inference.datatypes",
    "inference_service.protocols.open_inference.model_version",
    "inference_service.protocols.open_inference.parameters",
    "inference_service.loading.policy",
    "inference_service.prediction.request",
    "inference_service.wire.raw_tensor",
    "inference_service.cards.run_times",
    "inference_service.wire.scored_class",
    "inference_service.prediction.input_check",
    "inference_service.loading.store_pace",
    "inference_service.status_page.artifact_report",
    "inference_service.status_page.bars",
    "inference_service.status_page.charts",
    "inference_service.status_page.number_text",
    "inference_service.status_page.report",
    "inference_service.status_page.target",
    "inference_service.client.in_flight",
    "inference_service.protocols.tensorflow_serving.string_content",
    "inference_service.cards.timely_batch",
    "inference_service.prediction.top_classes",
    "service_kit.client.retry",
    "service_kit.client.target",
}
# The only modules that may know protobuf messages.
WITH_PROTOBUF = {
    "exporter_service.composition",
    "exporter_service.checkpoints.roots",  # google.protobuf's text format alone
    "exporter_service.client.aio_client",
    "exporter_service.client.calls",
    "exporter_service.client.sync_client",
    "exporter_service.client.codec",
    "exporter_service.service.codec",
    "exporter_service.meta_graph.reading.meta_file",  # a .meta as text
    "exporter_service.service.probe_codec",
    "exporter_service.service.request_codec",
    "exporter_service.service.servicer",
    "inference_service.client.aio_client",
    "inference_service.client.aio_stream_call",
    "inference_service.client.calls",
    "inference_service.client.sync_client",
    "inference_service.client.codec",
    "inference_service.protocols.native.codec",
    "inference_service.protocols.registration",
    "inference_service.protocols.open_inference.infer_codec",
    "inference_service.protocols.open_inference.model_codec",
    "inference_service.protocols.open_inference.repository_codec",
    "inference_service.protocols.open_inference.servicer",
    "inference_service.protocols.open_inference.shared_memory_codec",
    "inference_service.protocols.open_inference.statistics_codec",
    "inference_service.protocols.open_inference.stream",
    "inference_service.protocols.open_inference.tensors",
    "inference_service.protocols.open_inference.typed_contents",
    "inference_service.protocols.native.servicer",
    "inference_service.client.stream_call",
    "inference_service.wire.tensor_codec",
    "inference_service.protocols.tensorflow_serving.model_spec",
    "inference_service.protocols.tensorflow_serving.predict_codec",
    "inference_service.protocols.tensorflow_serving.protocol",  # the error of unreadable messages
    "inference_service.protocols.tensorflow_serving.reload_codec",
    "inference_service.protocols.tensorflow_serving.servicer",
    "inference_service.protocols.tensorflow_serving.signatures",
    "inference_service.protocols.tensorflow_serving.status_codec",
    "service_kit.frozen_graph.served_graph",  # the error of a graph that does not parse
    "service_kit.artifacts.manifest_codec",
    "service_kit.status",
    "service_kit.server.call_interceptor",  # the error of a message that cannot be parsed
}


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = path
    return found


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_follow_the_rules(name: str) -> None:
    used = imports(modules()[name])
    roots = {one.split(".")[0] for one in used}
    package = name.split(".", maxsplit=1)[0]
    if package == "service_kit":
        assert not roots & {"exporter_service", "inference_service"}
    else:
        other = {"exporter_service", "inference_service"} - {package}
        assert not roots & other
    if name not in WITH_TENSORFLOW:
        assert "tensorflow" not in roots
    if name not in WITH_PROTOBUF:
        assert not roots & {"pbserve", "tritonclient", "tensorflow_serving"}
        assert not any(one.startswith(("google.protobuf", "google.rpc")) for one in used)
    if name in PURE:
        assert not roots & {"asyncio", "threading", "time", "os", "pathlib", "random", "fsspec"}


def test_the_lists_name_modules_that_exist() -> None:
    assert modules().keys() >= WITH_TENSORFLOW | PURE | WITH_PROTOBUF


@pytest.mark.parametrize(
    "name", ["exporter_service.service.servicer", "exporter_service.cli.app",
             "inference_service.protocols.native.servicer",
             "inference_service.cli.app", "inference_service.loading.hot_load",
             "inference_service.composition"],
)  # fmt: skip
def test_servers_and_command_lines_start_without_tensorflow(name: str) -> None:
    code = f"import sys, {name}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(modules()))
def test_no_module_is_named_after_what_it_is_not(name: str) -> None:
    words = {word for part in name.split(".") for word in part.split("_")}
    assert not words & {
        "manager",
        "helper",
        "helpers",
        "util",
        "utils",
        "handler",
        "wrapper",
        "data",
        "info",
    }
