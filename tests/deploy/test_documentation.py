"""What docs/kubernetes.md shows builds as it is shown."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service_kit.auth.access_file import parse_access_file
from tests.support.overlays import K8S, KUBECTL, ROOT, build, containers

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
BLOCKS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
FOLDERS = [block for block in BLOCKS if block.get("kind") == "Kustomization"]
PATCHES = [block["patches"] for block in BLOCKS if list(block) == ["patches"]]
(ACCESS,) = (block for block in BLOCKS if "tokens" in block)


def written(folder: Any, place: Path) -> Path:
    """Writes a folder of the page beside a copy of ours, with the files that it names."""
    shutil.copytree(K8S, place / "deploy" / "k8s")
    own = place / "production"
    own.mkdir()
    (own / "kustomization.yaml").write_text(yaml.safe_dump(folder))
    (own / "access.yaml").write_text(yaml.safe_dump(ACCESS))
    (own / "models.yaml").write_text("models: {}\n")
    return own


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda found: found.get("namespace", "kserve"))
def test_a_folder_of_the_page_builds_with_its_images_and_no_name_of_ours(
    folder: Any, tmp_path: Path
) -> None:
    found = build(written(folder, tmp_path))
    for container in containers(found):
        assert container.container["image"].startswith("registry.example.com/team/")
    assert "pbserve.invalid" not in str(found.objects)
    namespaces = {one["metadata"].get("namespace") for one in found.objects} - {None}
    assert namespaces == {folder.get("namespace", "pbserve-revisions")}


def production(*components: str) -> dict[str, Any]:
    (folder,) = (one for one in FOLDERS if "namespace" in one)
    listed = [f"../deploy/k8s/components/{name}" for name in components]
    return {**folder, "components": [*folder["components"], *listed]}


@pytest.mark.parametrize("patches", PATCHES, ids=lambda found: found[0]["target"]["kind"])
def test_a_patch_of_the_page_changes_what_it_names(patches: Any, tmp_path: Path) -> None:
    plain = build(written(production("gateway"), tmp_path / "plain"))
    patched = build(written({**production("gateway"), "patches": patches}, tmp_path / "patched"))
    changed = {one["kind"] for one in patched.objects if one not in plain.objects}
    assert changed == {patch["target"]["kind"] for patch in patches}


def test_the_access_file_of_the_page_is_one() -> None:
    rules = parse_access_file(yaml.safe_dump(ACCESS), "the page")
    assert [token.name for token in rules.tokens] == ["shop"]


def test_a_scaler_is_added_by_the_file_that_the_page_names(tmp_path: Path) -> None:
    """`set-last-applied` takes the Deployment as it will be: without a number."""
    (name,) = re.findall(r"set-last-applied --filename rendered/(\S+)", PAGE)
    rendered = tmp_path / "rendered"
    rendered.mkdir()
    own = written(production(), tmp_path / "own")
    command = [str(KUBECTL), "kustomize", str(own), "--output", str(rendered)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    found = yaml.safe_load((rendered / name).read_text())
    assert (found["kind"], found["metadata"]["namespace"]) == ("Deployment", "vision")
    assert "replicas" not in found["spec"]


def test_every_component_is_in_the_table_once_with_what_it_needs() -> None:
    rows = re.findall(r"(?m)^\| `([a-z0-9-]+)` \|[^|]+\|[^|]+\|[^|]+\|$", PAGE)
    assert sorted(rows) == sorted(folder.name for folder in (K8S / "components").iterdir())


def test_commands_of_the_page_are_shown_once() -> None:
    lines = [
        line
        for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
        for line in block.splitlines()
        if line.startswith(("kubectl create", "kubectl label", "make ", "docker "))
    ]
    assert len(lines) > 5
    assert [line for line in lines if lines.count(line) > 1] == []
