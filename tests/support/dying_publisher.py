"""Publishes into a store and kills itself before the n-th thing that it does to a file.

Called as a program: the store's path, where the graph is, `files` or `objects`, and n.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service_kit.artifacts.manifest import published_as
from service_kit.store.artifact_store import ArtifactStore, _now
from service_kit.store.connection import StoreConnection
from service_kit.store.object_publisher import ObjectPublisher
from tests.support.manifests import conversion

# Everything by which a publication changes a file system.
_ACTIONS: list[tuple[Any, str]] = [
    (os, "fsync"),
    (os, "mkdir"),
    (os, "rename"),
    (os, "replace"),
    (os, "rmdir"),
    (os, "unlink"),
    (shutil, "copyfile"),
    (Path, "write_bytes"),
]
# The requests of a publication in an object store.
_REQUESTS = ("exists", "put_file", "pipe_file", "find", "rm_file")


def main(store: str, graph: str, kind: str, number: int) -> None:
    """Publishes version 1 of model m; prints how many actions there were, if it lives."""
    left = number

    def dying(action: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return action(*arguments, **options)

        return act

    connection = StoreConnection(store)
    actions = _ACTIONS if kind == "files" else [(connection.fs, name) for name in _REQUESTS]
    for owner, name in actions:
        setattr(owner, name, dying(getattr(owner, name)))
    path = Path(graph)
    described = conversion(path.read_bytes())
    if kind == "files":
        ArtifactStore(store).publish("m", described, path)
    else:
        # An object store that survives its user: keys are paths.
        connection.fs.auto_mkdir = True
        document = published_as(described, "m", 1, _now())
        ObjectPublisher(connection).publish(document, path.parent)
    print(number - left)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
