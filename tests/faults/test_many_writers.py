"""Exporters and servers on one store at the same time, with a history of what each saw."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from typing import Any

import pytest

from service_kit.artifacts.manifest import Manifest
from service_kit.store.artifact_store import ArtifactStore
from tests.faults.conftest import Arena

WRITERS, READERS, ROUNDS = 3, 3, 40


def started(store: ArtifactStore, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.storm", store.url, *map(str, words)],
        stdout=subprocess.PIPE,
        text=True,
    )


def history(processes: list[subprocess.Popen[str]]) -> list[list[Any]]:
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return [json.loads(line) for text in said for line in text.splitlines()]


@pytest.mark.timeout(180)
def test_no_version_is_two_artifacts_and_nobody_reads_what_nobody_published(
    arena: Arena,
) -> None:
    writers = [started(arena.store, "publish", ROUNDS, f"w{n}") for n in range(WRITERS)]
    readers = [started(arena.store, "watch", ROUNDS) for _ in range(READERS)]
    written, read = history(writers), history(readers)
    published: dict[tuple[str, int], set[str]] = defaultdict(set)
    deleted = {(model, version) for what, model, version, _ in written if what == "deleted"}
    for what, model, version, digest in written:
        if what == "published":
            published[model, version].add(digest)
    assert sum(map(len, published.values())) == WRITERS * ROUNDS
    # A number is used again when the highest version was deleted, and never otherwise.
    assert {key for key, digests in published.items() if len(digests) > 1} <= deleted
    for _, model, version, digest in read:
        assert digest in published[model, version]
    assert read
    # What is left is what was not deleted, whole.
    left: list[Manifest] = []
    for model, versions in arena.store.published().items():
        left += [arena.store.manifest(model, version) for version in versions]
    for document in left:
        assert arena.store.graph(document)
    remaining = {(one.model, one.version) for one in left}
    assert {key for key in published if key not in deleted} <= remaining


@pytest.mark.timeout(180)
def test_a_thousand_versions_are_listed_page_by_page_and_the_newest_is_served(
    arena: Arena, good: bytes
) -> None:
    from exporter_service.service.artifact_pages import read_page
    from inference_service.client import InferenceClient
    from tests.support.fault_checks import answers_right

    for _ in range(1000):
        arena.publish("many", good)
    found, token = 0, ""
    while True:
        page = read_page(arena.store, "", token, 100)
        found += len(page.manifests)
        token = page.next_token
        if not token:
            break
    assert found == 1000
    with arena.serving() as server, InferenceClient(server.address) as client:
        client.wait_until_ready("many")
        assert client.model("many").default_version == 1000
        assert answers_right(client, "many")
