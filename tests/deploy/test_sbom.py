"""The lists of what is in the images: what the locks pin, in the words of CycloneDX.

The tool has an environment of its own: `make sbom` makes it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.docker.lock import EXTRAS, path, variants_of
from deploy.docker.sbom import file_name
from deploy.docker.wheelhouse import MACHINES
from tests.deploy.test_image_locks import versions
from tests.support.overlays import ROOT

TOOL = ROOT / ".venv-images" / "bin" / "cyclonedx-py"
needs_tool = pytest.mark.skipif(not TOOL.exists(), reason="no CycloneDX: `make sbom` installs it")


def make_lists(tool: Path, machine: str, into: Path) -> None:
    command = [sys.executable, "-m", "deploy.docker.sbom", "--tool", str(tool)]
    command += ["--machine", machine, "--into", str(into)]
    subprocess.run(command, check=True, capture_output=True, timeout=110, cwd=ROOT)


@needs_tool
@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_a_list_has_what_the_lock_pins_with_its_hashes(machine: str, tmp_path: Path) -> None:
    make_lists(TOOL, machine, tmp_path)
    for image in EXTRAS:
        for variant in variants_of(image):
            found = json.loads((tmp_path / file_name(image, variant)).read_text())
            assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
            assert found["metadata"]["component"]["name"] == "pbserve"
            listed = {one["name"]: one["version"] for one in found["components"]}
            assert listed == versions(path(image, variant), "3.12", machine)
            for one in found["components"]:
                assert one["purl"].startswith("pkg:pypi/")
                assert one["externalReferences"][0]["hashes"]


def test_there_is_a_list_for_each_image_by_the_tool_that_is_given(tmp_path: Path) -> None:
    """A tool that copies what it reads to where it is told to write."""
    tool = tmp_path / "tool"
    tool.write_text(
        '#!/bin/sh\nlock=$2\nwhile [ "$1" != --output-file ]; do shift; done\ncp "$lock" "$2"\n'
    )
    tool.chmod(0o755)
    make_lists(tool, "aarch64", tmp_path / "lists")
    names = {file_name(image, variant) for image in EXTRAS for variant in variants_of(image)}
    assert {one.name for one in (tmp_path / "lists").iterdir()} == names
    text = (tmp_path / "lists" / file_name("inference", "cpu")).read_text()
    assert "tensorflow-cpu==" not in text
    assert "\ntensorflow==" in text
