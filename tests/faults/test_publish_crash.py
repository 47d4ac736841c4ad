"""A publisher is killed before each thing that it does to a file: readers see all or nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service_kit.store.artifact_store import ArtifactStore
from service_kit.store.local_mark import MARK
from tests.support.manifests import conversion, graph_file

GRAPH = b"a graph of some bytes"
# Far more than a publication does.
_ALL = 1000


def publish(
    store: ArtifactStore, graph: Path, kind: str, number: int
) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "tests.support.dying_publisher"]
    return subprocess.run(
        [*program, store.url, str(graph), kind, str(number)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("kind", ["files", "objects"])
@pytest.mark.timeout(300)
def test_a_publication_is_there_as_a_whole_or_not_at_all(tmp_path: Path, kind: str) -> None:
    graph = graph_file(tmp_path, GRAPH)
    rehearsal = ArtifactStore(str(tmp_path / "rehearsal"))
    rehearsal.create()
    done = publish(rehearsal, graph, kind, _ALL)
    assert done.returncode == 0, done.stderr
    actions = int(done.stdout)
    assert actions >= (8 if kind == "files" else 4)
    seen = set()
    for number in range(actions):
        store = ArtifactStore(str(tmp_path / f"store{number}"))
        store.create()
        died = publish(store, graph, kind, number)
        assert died.returncode == -9, died.stderr
        versions = store.versions("m")
        seen.add(len(versions))
        for version in versions:
            assert store.graph(store.manifest("m", version)) == GRAPH
        # The next exporter clears away the rest, and counts on.
        store.create()
        folders = {path.name for path in Path(store.url).iterdir()}
        if kind == "files":
            assert folders - {MARK} <= {"m"}
            following = store.publish("m", conversion(GRAPH), graph)
            assert following.version == len(versions) + 1
    assert 0 in seen
