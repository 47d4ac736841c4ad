"""What lies where no checkpoint was found, and was probably meant: advice for the error.

Only names are read, and only in folders below the roots.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path, PurePosixPath

from exporter_service.checkpoints.key_list import listed

STATE_FILE = "checkpoint"
# One file of a checkpoint: what is before it is the prefix.
PART = re.compile(r"\.(index|meta|data-\d{5,}-of-\d{5,})$")
_V1_NAME = re.compile(r"\.ckpt(-\d+)?$")
_STEP = re.compile(r"-(\d+)$")
_SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")
# Of a SavedModel, below its folder.
_VARIABLES = "variables/variables"


def advice(path: Path, requested: str, is_inside: Callable[[Path], bool]) -> str:
    """Returns what to give instead of a path without a checkpoint; empty: nothing is known.

    Args:
        path: a folder whose state file is absent or leads nowhere, or a prefix without files;
            inside the roots.
        requested: what the caller calls it.
        is_inside: whether a path leads below the roots.
    """
    if path.is_dir():
        names = {entry.name for entry in path.iterdir()}
        why = "its state file leads to none" if STATE_FILE in names else "it has no state file"
        return _saved_model(path, names, requested, is_inside) or _candidates(
            why, names, PurePosixPath(requested)
        )
    folder = path.parent
    # Of a root itself the parent is outside.
    if not is_inside(folder) or not folder.is_dir():
        return ""
    names = {entry.name for entry in folder.iterdir()}
    place = PurePosixPath(requested).parent
    if path.name == STATE_FILE and STATE_FILE in names:
        return f"this is the state file of a folder: give the folder, {place}"
    parts = sorted(
        name for name in names if PART.search(name) and PART.sub("", name) == path.name
    )  # fmt: skip
    if parts:
        return (
            f"{listed(parts)} {'is' if len(parts) == 1 else 'are'} there, and nothing can be "
            f"read without {path.name}.index: copy all files of the checkpoint"
        )
    return _candidates("its folder has others", names, place)


def _saved_model(
    folder: Path, names: Collection[str], requested: str, is_inside: Callable[[Path], bool]
) -> str:
    if STATE_FILE in names or not set(names) & set(_SAVED_MODEL):
        return ""
    index = folder / f"{_VARIABLES}.index"
    if is_inside(index) and index.is_file():
        return (
            "this is a SavedModel, and its variables are a checkpoint in themselves: give "
            f"{PurePosixPath(requested) / _VARIABLES}"
        )
    return "this is a SavedModel without variables: give the checkpoint that it was made from"


def _candidates(why: str, names: Iterable[str], place: PurePosixPath) -> str:
    """Names the checkpoints of a folder, the latest first."""
    prefixes = {name.removesuffix(".index") for name in names if name.endswith(".index")}
    prefixes |= {name for name in names if _V1_NAME.search(name)}
    found = [str(place / name) for name in sorted(prefixes, key=_age)]
    if not found:
        return ""
    return f"{why}: give {'one of ' if len(found) > 1 else ''}{listed(found)}"


def _age(prefix: str) -> tuple[int, str]:
    step = _STEP.search(prefix)
    # Longer numbers than any step has are names; int() refuses the longest of them.
    return (-int(step[1]) if step and len(step[1]) < 20 else 0, prefix)
