"""What the import contracts in pyproject.toml (`make lint`) cannot say of the modules."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("service_kit", "exporter_service", "inference_service")
# What a decision has no need of: values go in, values come out.
CLOCK_DISK_AND_THREAD = {
    "asyncio",
    "concurrent",
    "ctypes",
    "fsspec",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}
# Folders that decide, and those of their modules that act. Every other module there is pure.
ACTING = {
    "exporter_service.architectures": {"legacy_keras", "tracing"},
    "exporter_service.checkpoints": {
        "bundle_index",
        "checkpoint",
        "neighbours",
        "roots",
        "signature",
    },
    "exporter_service.meta_graph.detection": set(),
    "exporter_service.meta_graph.reading": {"meta_file"},
    "exporter_service.meta_graph.rewriting": set(),
    "exporter_service.meta_graph.towers": set(),
    "exporter_service.specs": {"conversion"},
    "inference_service.cards": {"card", "queued_request"},
    "inference_service.client": {
        "aio_client",
        "aio_groups",
        "aio_stream_call",
        "image_inputs",
        "stream_call",
        "sync_client",
    },
    "inference_service.engine": {"cpu_quota", "lazy", "session", "tensorflow_import"},
    "inference_service.images": {"decoders"},
    "inference_service.loading": {
        "background_work",
        "hot_load",
        "loader",
        "malloc_trim",
        "operations",
        "store_view",
        "store_watch",
        "thread_priority",
        "warming",
        "death_record",
        "load_attempt",
        "load_journal",
        "memory",
    },
    "inference_service.models": {"health", "registry", "servable", "watchdog"},
    "inference_service.prediction": {"answers", "predictor"},
    "inference_service.protocols.native": {"servicer"},
    "inference_service.protocols.open_inference": {"servicer", "shared_memory"},
    "inference_service.protocols.shared": {"streaming"},
    "inference_service.protocols.tensorflow_serving": {"protocol", "servicer"},
    "inference_service.status_page": {"image_form", "pages", "upload", "slow_senders"},
    "inference_service.wire": set(),
    "service_kit.artifacts": {"digest"},
    "service_kit.auth": set(),
    "service_kit.client": {"aio_client", "attempts", "client", "replicas", "tls"},
}
SAYS_NOTHING = {
    "data",
    "handler",
    "helper",
    "helpers",
    "info",
    "manager",
    "util",
    "utils",
    "wrapper",
}


def modules() -> dict[str, Path]:
    """Every module of the three packages, by its name."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = path
    return found


def roots_imported(path: Path) -> set[str]:
    """The top packages that a module imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("folder", sorted(ACTING))
def test_what_decides_has_no_clock_no_disk_and_no_thread(folder: str) -> None:
    acting = {
        name.removeprefix(f"{folder}.")
        for name, path in modules().items()
        if name.rpartition(".")[0] == folder and roots_imported(path) & CLOCK_DISK_AND_THREAD
    }
    assert acting == ACTING[folder]


@pytest.mark.parametrize(
    "name", ["exporter_service.service.servicer", "exporter_service.cli.app",
             "exporter_service.client", "exporter_service.composition",
             "inference_service.protocols.registration", "inference_service.cli.app",
             "inference_service.client", "inference_service.loading.hot_load",
             "inference_service.composition"],
)  # fmt: skip
def test_servers_clients_and_command_lines_start_without_tensorflow(name: str) -> None:
    code = f"import sys, {name}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(modules()))
def test_no_module_is_named_after_what_it_is_not(name: str) -> None:
    words = {word for part in name.split(".") for word in part.split("_")}
    assert not words & SAYS_NOTHING
