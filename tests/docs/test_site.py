"""The site as `make docs` builds it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service_kit import errors
from tests.support.markdown import ROOT

pytestmark = pytest.mark.slow

pytest.importorskip("material", reason="the extra `docs` is not installed")


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=project,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Strict: a broken link, anchor or snippet fails the build."""
    built = tmp_path_factory.mktemp("docs") / "site"
    done = build(ROOT, built)
    assert done.returncode == 0, done.stdout + done.stderr
    return built


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    """Said by mkdocs of a page's own links, and by our hook of all that is built."""
    for path in ROOT.iterdir():
        if path.name not in {"docs", "site"}:
            (tmp_path / path.name).symlink_to(path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    with (tmp_path / "docs" / "index.md").open("a") as page:
        page.write('\n[x](errors.md#nowhere)\n\n<img src="nothing.png">\n')
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "does not contain an anchor '#nowhere'" in done.stderr
    assert "index.html: <img> 'nothing.png' leads to no file" in done.stderr


def test_every_page_is_built(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix(".html")
        assert (site / name).is_file()


def test_every_error_can_be_searched_for(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    titles = {entry["title"] for entry in index["docs"] if entry["location"].startswith("errors")}
    assert {errors.QueueFull.__name__, errors.ParityFailed.__name__} <= titles


def test_the_reference_has_the_docstrings_and_the_protos_comments(site: Path) -> None:
    python = (site / "reference" / "inference.html").read_text()
    assert "Returns the prediction for one group of images." in python
    grpc = (site / "reference" / "grpc" / "inference.html").read_text()
    assert 'id="pbserve.inference.v1.InferenceService.StreamPredict"' in grpc
    assert "Number of images in the largest batch that this request was part of." in grpc


def test_drawings_are_part_of_their_pages(site: Path) -> None:
    drawn = (site / "architecture.html").read_text()
    for flow in ("convert", "predict", "hot-load", "drain"):
        assert f'aria-labelledby="{flow}-title {flow}-desc"' in drawn
