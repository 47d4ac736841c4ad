"""What a path on the command line names: a checkpoint or a frozen graph, and what to call it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from service_kit import errors
from service_kit.artifacts.model_name import checked_model_name, is_model_name

_LONGEST_NAME = 64
_SHOWN = 3
_INDEX = ".index"


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint or a graph: the folder that the exporter may read, and the path below it."""

    root: Path
    path: str
    model: str
    is_graph: bool

    @property
    def file(self) -> Path:
        """The path itself."""
        return self.root / self.path


def find_source(path: Path, model: str = "") -> Source:
    """Returns what lies at a path.

    Args:
        path: a directory with a `checkpoint` state file or with one checkpoint, a checkpoint
            prefix, or a frozen graph (`.pb`).
        model: name to publish; empty: made of the directory's name, or the graph's.

    Raises:
        InvalidRequest: the name is not allowed, or none can be made of the path.
        CheckpointNotFound: nothing is there, or several checkpoints are.
    """
    full = path.absolute()
    if full.is_dir():
        # A name for `.` and `..`, too.
        full = full.resolve()
        below = _checkpoint_in(full, path)
        name = model or _name_of(full.name, path)
        return Source(full.parent, f"{full.name}/{below}" if below else full.name, name, False)
    if full.suffix == ".pb" and full.is_file():
        return Source(full.parent, full.name, model or _name_of(full.stem, path), True)
    folder = full.parent
    if not any(folder.glob(f"{_literal(full.name)}*")):
        raise errors.CheckpointNotFound(
            f"there is nothing at {path}: give a checkpoint's directory or prefix, or a frozen "
            "graph (.pb)"
        )
    folder = folder.resolve()
    return Source(
        folder.parent, f"{folder.name}/{full.name}", model or _name_of(folder.name, path), False
    )


def _checkpoint_in(folder: Path, shown: Path) -> str:
    """Returns the one checkpoint of a directory without a state file; empty where it has one."""
    if (folder / "checkpoint").is_file():
        return ""
    prefixes = sorted(file.name.removesuffix(_INDEX) for file in folder.glob(f"*{_INDEX}"))
    if len(prefixes) == 1:
        return prefixes[0]
    if prefixes:
        named = ", ".join(str(shown / one) for one in prefixes[:_SHOWN])
        more = f", and {len(prefixes) - _SHOWN} more" if len(prefixes) > _SHOWN else ""
        raise errors.CheckpointNotFound(
            f"choose one of the {len(prefixes)} checkpoints in {shown}, which has no `checkpoint` "
            f"file to name one: {named}{more}"
        )
    return _graph_or_nothing(folder, shown)


def _graph_or_nothing(folder: Path, shown: Path) -> str:
    graphs = sorted(folder.glob("*.pb"))
    if graphs:
        raise errors.CheckpointNotFound(
            f"name the graph itself, {shown / graphs[0].name}: {shown} has no checkpoint"
        )
    # V1 has no index: what lies here, the exporter says best.
    return ""


def _name_of(text: str, path: Path) -> str:
    name = re.sub(r"[^a-z0-9._-]+", "-", text.lower())[:_LONGEST_NAME].strip("._-")
    if not is_model_name(name):
        raise errors.InvalidRequest(f"give a name with --model: none can be made of {path}")
    return checked_model_name(name)


def _literal(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
