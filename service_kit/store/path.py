"""Whether a path that somebody writes is where a store has a model."""

from __future__ import annotations

import os

_LOCAL = "file://"


def is_place_of(model: str, store: str, path: str) -> bool:
    """Whether `path` is the folder of a model in a store.

    Opens nothing, since a path may come from a caller; reads links of local paths, and so blocks.

    Args:
        model: name of the model.
        store: the store's path or URL, as the server was told.
        path: absolute, or a URL; with or without a slash at the end.
    """
    trimmed = path.rstrip("/")
    if "://" in trimmed and trimmed == f"{store.rstrip('/')}/{model}":
        return True
    folder, root = trimmed.removeprefix(_LOCAL), store.removeprefix(_LOCAL)
    if not folder.startswith("/") or "://" in root:
        return False
    try:
        return os.path.realpath(folder) == os.path.join(os.path.realpath(root), model)  # noqa: PTH118
    except (OSError, ValueError):
        # A name with a NUL, for one.
        return False
