"""Checkov's rules for Kubernetes, without findings that nobody explained.

It is large and holds old versions of what others need, so it has an environment of its own:
`make k8s-validate` makes it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.overlays import (
    COMBINATIONS,
    KSERVE,
    OVERLAYS,
    ROOT,
    Manifest,
    combined,
    containers,
    kserve,
    overlay,
)

CHECKOV = ROOT / ".venv-checkov" / "bin" / "checkov"
# What is not kept, and why. It is not in the manifests: those are other people's, too.
EXPLAINED = {
    "CKV_K8S_43": "the tag is this release's; whoever mirrors the image pins its digest",
    "CKV_K8S_15": "the tag never moves: a node without the registry starts what it has",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHECKOV.exists(), reason="no Checkov: `make k8s-validate` installs it"),
]
Report = Mapping[str, Any]


def report_on(folders: Mapping[str, list[Manifest]], place: Path) -> dict[str, Any]:
    """Returns what Checkov says of files, one a name."""
    for name, objects in folders.items():
        (place / f"{name}.yaml").write_text(yaml.safe_dump_all([dict(one) for one in objects]))
    command = [str(CHECKOV), "--directory", str(place), "--framework", "kubernetes"]
    command += ["--skip-check", ",".join(EXPLAINED)]
    done = subprocess.run(
        [*command, "--output", "json", "--compact", "--skip-download"],
        capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    return dict(report["results"])


def of_file(found: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [one for one in found if one["file_path"].endswith(f"/{name}.yaml")]


def rules(found: list[dict[str, Any]]) -> set[str]:
    return {str(one["check_id"]) for one in found}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    place = tmp_path_factory.mktemp("checkov")
    folders = {name: list(overlay(name).objects) for name in OVERLAYS}
    for parts in COMBINATIONS:
        folder = tmp_path_factory.mktemp("combined")
        folders["+".join(parts)] = list(combined(parts, folder).objects)
    return report_on(folders, place)


@pytest.mark.parametrize("name", [*OVERLAYS, *map("+".join, COMBINATIONS)])
def test_there_are_no_findings_that_nobody_explained(name: str, report: Report) -> None:
    assert len(of_file(report["passed_checks"], name)) > 100
    assert rules(of_file(report["failed_checks"], name)) == set()
    assert of_file(report["skipped_checks"], name) == []


def test_manifests_that_people_get_have_nothing_of_checkovs() -> None:
    for path in (ROOT / "deploy" / "k8s").rglob("*.yaml"):
        assert "checkov" not in path.read_text(), path


def pod(name: str, **changes: Any) -> Manifest:
    """Returns the pod that KServe makes, in a namespace whose network is KServe's."""
    (container,) = containers(kserve(name))
    skips = {"checkov.io/skip1": "CKV2_K8S_6=the network is KServe's"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "pbserve", "annotations": skips},
        "spec": {
            **container.pod,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{**container.container, **changes}],
        },
    }


def test_there_are_none_in_what_kserve_makes_and_there_are_in_what_is_not_confined(
    tmp_path: Path,
) -> None:
    loose = pod("polling", securityContext={"privileged": True})
    report = report_on({**{name: [pod(name)] for name in KSERVE}, "loose": [loose]}, tmp_path)
    for name in KSERVE:
        assert of_file(report["passed_checks"], name)
        assert rules(of_file(report["failed_checks"], name)) == set()
    assert {"CKV_K8S_16", "CKV_K8S_22"} <= rules(of_file(report["failed_checks"], "loose"))
