"""The trial against an API server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import fake_kubectl
from tests.support.overlays import K8S, KSERVE, KUBECTL, OVERLAYS, Built, build, overlay


def dry_run(**environment: str) -> subprocess.CompletedProcess[str]:
    without = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    return subprocess.run(
        [str(K8S / "dry-run")], capture_output=True, text=True, check=False, timeout=110,
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
    assert "NAMESPACE=mine" in done.stderr


class Cluster:
    """What a server has, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "state.json"
        self._kubectl = folder / "kubectl"
        self._kubectl.write_text(
            "#!/bin/sh\n"
            f'exec {sys.executable} {fake_kubectl.__file__} {self._file} {KUBECTL} "$@"\n'
        )
        self._kubectl.chmod(0o755)
        self.state: dict[str, Any] = {
            "namespaces": [],
            "objects": {},
            "calls": [],
            "may_create": True,
        }

    def apply(self, built: Built) -> None:
        """Has what somebody has applied."""
        for one in built.objects:
            self.state["objects"][fake_kubectl.key(one)] = one
        self.state["namespaces"].append("pbserve")

    def dry_run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        self._file.write_text(json.dumps(self.state))
        done = dry_run(KUBECONFIG="there", KUBECTL=str(self._kubectl), **environment)
        self.state = json.loads(self._file.read_text())
        return done


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def test_it_can_be_repeated_whatever_was_applied(cluster: Cluster) -> None:
    """A claim of `dev` cannot become one of `local-pvc`, and fields belong to who applied them."""
    cluster.apply(overlay("dev"))
    cluster.apply(build(K8S / "cluster"))
    before = dict(cluster.state["objects"])
    for _ in range(2):
        done = cluster.dry_run()
        assert done.returncode == 0, done.stdout + done.stderr
        assert "the server takes all of them" in done.stdout
        # Its own namespace is gone again, and nothing else has changed.
        assert set(cluster.state["namespaces"]) == {"pbserve"}
        assert cluster.state["objects"] == before
    tried = [line for line in done.stdout.splitlines() if line.startswith("== ")]
    assert len(tried) == len(OVERLAYS) + len(KSERVE) + 1
    assert list(K8S.glob(".dry-run*")) == []


def test_a_namespace_that_was_there_stays(cluster: Cluster) -> None:
    cluster.state["namespaces"] = ["mine"]
    assert cluster.dry_run(NAMESPACE="mine").returncode == 0
    assert cluster.state["namespaces"] == ["mine"]
    assert not any(call[0] in ("create", "delete", "label") for call in cluster.state["calls"])


def test_who_may_make_no_namespace_is_told_to_name_one(cluster: Cluster) -> None:
    cluster.state["may_create"] = False
    done = cluster.dry_run()
    assert done.returncode == 1
    assert "forbidden" in done.stderr
    assert "NAMESPACE=mine make k8s-dry-run" in done.stderr


def test_what_is_refused_is_named(cluster: Cluster) -> None:
    cluster.state["namespaces"] = ["pbserve"]
    cluster.apply(overlay("dev"))
    done = cluster.dry_run(NAMESPACE="pbserve")
    assert done.returncode == 1
    assert "refused: " in done.stderr
    assert "overlays/local-pvc" in done.stderr.splitlines()[-2]
    assert "overlays/s3" not in done.stderr.splitlines()[-2]
    assert list(K8S.glob(".dry-run*")) == []
