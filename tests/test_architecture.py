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
    "exporter_service.augmentation",
    "exporter_service.architecture_graph",
    "exporter_service.adoption",
    "exporter_service.architectures.densenet",
    "exporter_service.architectures.slim_builder",
    "exporter_service.architectures.tracing",
    "exporter_service.checkpoint",
    "exporter_service.conversion",
    "exporter_service.formats.onnx_model",
    "exporter_service.formats.saved_model",
    "exporter_service.formats.tensor_type",
    "exporter_service.freezing",
    "exporter_service.inspection",
    "exporter_service.meta_graph.batch_norm",
    "exporter_service.meta_graph.bindings",
    "exporter_service.meta_graph.building",
    "exporter_service.meta_graph.constants",
    "exporter_service.meta_graph.phases",
    "exporter_service.meta_graph.mixture",
    "exporter_service.meta_graph.conditions",
    "exporter_service.meta_graph.fixed_batch",
    "exporter_service.meta_graph.initial_state",
    "exporter_service.meta_graph.inlining",
    "exporter_service.meta_graph.meta_file",
    "exporter_service.meta_graph.op_allowance",
    "exporter_service.meta_graph.op_defs",
    "exporter_service.meta_graph.pruning",
    "exporter_service.meta_graph.replication",
    "exporter_service.meta_graph.variables",
    "exporter_service.preprocessing",
    "exporter_service.proof",
    "exporter_service.served_proof",
    "exporter_service.session",
    "exporter_service.tower_copy",
    "exporter_service.towers",
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
    "exporter_service.key_rewrites",
    "exporter_service.key_suggestion",
    "exporter_service.moving_average",
    "inference_service.batch_limit",
    "inference_service.batch_tensors",
    "inference_service.batching",
    "inference_service.card_health",
    "inference_service.card_places",
    "inference_service.deadlines",
    "inference_service.devices",
    "inference_service.dispatch",
    "inference_service.jpeg_scans",
    "inference_service.labels",
    "inference_service.load_failures",
    "inference_service.model_list",
    "inference_service.model_rules",
    "inference_service.models_file",
    "inference_service.open_inference.byte_elements",
    "inference_service.open_inference.classification",
    "inference_service.open_inference.datatypes",
    "inference_service.open_inference.model_version",
    "inference_service.open_inference.parameters",
    "inference_service.policy",
    "inference_service.question",
    "inference_service.raw_tensor",
    "inference_service.run_times",
    "inference_service.scored_class",
    "inference_service.signature",
    "inference_service.store_pace",
    "inference_service.status_page.artifact_report",
    "inference_service.status_page.bars",
    "inference_service.status_page.charts",
    "inference_service.status_page.number_text",
    "inference_service.status_page.report",
    "inference_service.status_page.target",
    "inference_service.stream_ledger",
    "inference_service.tensorflow_serving.string_content",
    "inference_service.timely_batch",
    "inference_service.top_classes",
    "service_kit.retry",
    "service_kit.target",
}
# The only modules that may know protobuf messages.
WITH_PROTOBUF = {
    "exporter_service.composition",
    "exporter_service.checkpoint_roots",  # google.protobuf's text format alone
    "exporter_service.aio_client",
    "exporter_service.calls",
    "exporter_service.client",
    "exporter_service.client_codec",
    "exporter_service.codec",
    "exporter_service.meta_graph.meta_file",  # a .meta as text
    "exporter_service.probe_codec",
    "exporter_service.request_codec",
    "exporter_service.servicer",
    "inference_service.aio_client",
    "inference_service.aio_stream_call",
    "inference_service.calls",
    "inference_service.client",
    "inference_service.client_codec",
    "inference_service.codec",
    "inference_service.protocols",
    "inference_service.open_inference.infer_codec",
    "inference_service.open_inference.model_codec",
    "inference_service.open_inference.repository_codec",
    "inference_service.open_inference.servicer",
    "inference_service.open_inference.shared_memory_codec",
    "inference_service.open_inference.statistics_codec",
    "inference_service.open_inference.stream",
    "inference_service.open_inference.tensors",
    "inference_service.open_inference.typed_contents",
    "inference_service.servicer",
    "inference_service.stream_call",
    "inference_service.tensor_codec",
    "inference_service.tensorflow_serving.model_spec",
    "inference_service.tensorflow_serving.predict_codec",
    "inference_service.tensorflow_serving.protocol",  # the error of a message that is none
    "inference_service.tensorflow_serving.reload_codec",
    "inference_service.tensorflow_serving.servicer",
    "inference_service.tensorflow_serving.signatures",
    "inference_service.tensorflow_serving.status_codec",
    "service_kit.frozen_graph.served_graph",  # the error of a graph that does not parse
    "service_kit.manifest_codec",
    "service_kit.message_size",
    "service_kit.status",
    "service_kit.call_interceptor",  # the error of a message that cannot be parsed
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
    "name", ["exporter_service.servicer", "exporter_service.cli", "inference_service.servicer",
             "inference_service.cli", "inference_service.hot_load",
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
