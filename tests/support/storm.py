"""Publishes, deletes or watches a store, and prints what it saw, one JSON line each.

Called as a program: the store's path, `publish` or `watch`, and how many rounds.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import tempfile
from pathlib import Path

from service_kit import errors
from service_kit.store.artifact_store import ArtifactStore
from tests.support.manifests import conversion, graph_file

MODELS = ("a", "b", "c")


def publish(store: ArtifactStore, rounds: int, name: str) -> None:
    """Publishes graphs that nobody else has; deletes one now and then."""
    chance = random.Random(name)  # noqa: S311 - to be repeated
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            content = f"{name} {number}".encode()
            model = chance.choice(MODELS)
            done = store.publish(model, conversion(content), graph_file(Path(folder), content))
            _say("published", model, done.version, done.graph.sha256)
            if chance.random() < 0.2:
                version = chance.choice(store.versions(model) or [1])
                with contextlib.suppress(errors.ArtifactNotFound, errors.StoreUnavailable):
                    store.delete(model, version)
                    _say("deleted", model, version, "")


def watch(store: ArtifactStore, rounds: int) -> None:
    """Reads everything that is there, and verifies it."""
    for _ in range(rounds):
        for model, versions in store.published().items():
            for version in versions:
                with contextlib.suppress(errors.ArtifactNotFound):
                    document = store.manifest(model, version)
                    with contextlib.suppress(errors.ArtifactCorrupt):
                        # Deleted between the two.
                        store.graph(document)
                        _say("read", model, version, document.graph.sha256)


def _say(what: str, model: str, version: int, digest: str) -> None:
    print(json.dumps([what, model, version, digest]), flush=True)


if __name__ == "__main__":
    opened = ArtifactStore(sys.argv[1])
    if sys.argv[2] == "publish":
        publish(opened, int(sys.argv[3]), sys.argv[4])
    else:
        watch(opened, int(sys.argv[3]))
