"""The trial against an API server."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import yaml

from tests.support.overlays import K8S, KUBECTL


def dry_run(**environment: str) -> subprocess.CompletedProcess[str]:
    without = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    return subprocess.run(
        [str(K8S / "dry-run")], capture_output=True, text=True, check=False, timeout=60,
        env={**without, "KUBECTL": str(KUBECTL), **environment},
    )  # fmt: skip


def test_without_a_cluster_it_says_loudly_that_it_was_skipped() -> None:
    done = dry_run()
    assert done.returncode == 0
    assert "SKIPPED: no API server has seen the overlays" in done.stdout


def test_a_cluster_that_does_not_answer_is_a_failure(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{closed.getsockname()[1]}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
            "users": [{"name": "u"}],
        }
        (tmp_path / "config").write_text(yaml.safe_dump(config))
        done = dry_run(KUBECONFIG=str(tmp_path / "config"))
    assert done.returncode == 1
    assert "SKIPPED" not in done.stdout
    assert "create namespace pbserve" in done.stderr
