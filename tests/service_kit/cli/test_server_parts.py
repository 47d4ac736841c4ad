from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service_kit import errors
from service_kit.cli.server_parts import check_installed, server_parts

ROOT = Path(__file__).resolve().parents[3]
# As in an environment without these.
WITHOUT = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
package = sys.argv[2]
sys.argv = [package, *sys.argv[3:]]
import importlib
importlib.import_module(f"{package}.__main__").main()
"""


def test_a_package_that_is_missing_is_one_line() -> None:
    missing = pytest.raises(errors.InvalidRequest, match=r"^do this; .* has no no_such_package$")
    with missing, server_parts("do this"):
        import no_such_package.inside  # type: ignore[import-not-found]  # noqa: F401
    with pytest.raises(errors.InvalidRequest, match=r"^do this; .* has no no_such_package$"):
        check_installed("no_such_package", "do this")


def test_a_module_of_ours_that_is_missing_is_a_defect() -> None:
    with pytest.raises(ModuleNotFoundError), server_parts("do this"):
        import service_kit.no_such_module  # type: ignore[import-not-found]  # noqa: F401


@pytest.mark.parametrize(
    ("missing", "package", "words"),
    [
        ("aiohttp,structlog", "inference_service", "install an engine: `pip install"),
        ("tensorflow,openvino", "inference_service", "install one: `pip install"),
        ("aiohttp,structlog", "exporter_service", "install the server: `pip install"),
        ("tensorflow", "exporter_service", "install the server: `pip install"),
    ],
)
def test_serve_without_its_parts_says_what_to_install(
    missing: str, package: str, words: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, missing, package, "serve", "--listen", "127.0.0.1:0",
         "--metrics-listen", "127.0.0.1:0", "--store", str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"error: {words}"), done.stderr
    assert "pbserve[server]" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("package", ["inference_service", "exporter_service"])
def test_the_clients_side_needs_none_of_the_servers_packages(package: str) -> None:
    server = "aiohttp,fsspec,jinja2,ml_dtypes,openvino,PIL,prometheus_client"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, f"{server},structlog,tensorflow,tritonclient,yaml", package,
         "models" if package == "inference_service" else "list", "--address", "127.0.0.1:9"],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert "127.0.0.1:9" in done.stderr
