"""A process that publishes: `python -m tests.support.store_publisher URL FOLDER TIMES [VERSION]`.

It says `ready`, waits for a line on standard input, and prints what it got as one JSON list.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from service_kit import errors
from service_kit.store.artifact_store import ArtifactStore
from tests.support.manifests import conversion


def main() -> None:
    """Publishes the graph in FOLDER as model `m`."""
    url, folder, times, *version = sys.argv[1:]
    graph = Path(folder) / "frozen_model.pb"
    store = ArtifactStore(url)
    # What the first call to a store costs is not part of a race.
    store.versions("m")
    print("ready", flush=True)
    sys.stdin.readline()
    got: list[int | str] = []
    for _ in range(int(times)):
        try:
            described = conversion(graph.read_bytes())
            number = int(version[0]) if version else None
            got.append(store.publish("m", described, graph, version=number).version)
        except errors.VersionTaken as error:
            got.append(error.reason)
    print(json.dumps(got), flush=True)


if __name__ == "__main__":
    main()
