"""The files that a conversion writes: the graph, and other formats of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter_service.formats.extra_format import ExtraFormat
from exporter_service.formats.model_file import LARGEST_BYTES, write_message
from exporter_service.specs.progress import Progress, Report, Step
from service_kit import errors
from service_kit.artifacts.digest import sha256_of
from service_kit.artifacts.manifest import ArtifactFile, ArtifactFileKind, GraphFile, Tower

# Names of the recipe.
SINGLE_NAME = "frozen_model.pb"
MULTI_NAME = "multi_frozen_model.pb"
# Not the recipe's: what looks for its names must not serve such a graph in batches.
_UNBATCHED, _ONE_BY_ONE = "unbatched_", "one_by_one_"


def graph_name(cards: int, *, unbatched: bool, max_batch: int = 0) -> str:
    """Returns the name of a frozen graph's file."""
    name = MULTI_NAME if cards > 1 else SINGLE_NAME
    name = f"{_ONE_BY_ONE}{name}" if max_batch else name
    return f"{_UNBATCHED}{name}" if unbatched else name


def check_size(graph: Any, values: Mapping[str, Any]) -> None:
    """Refuses a graph that would be too large, before any of it is written.

    Args:
        graph: the TensorFlow graph.
        values: variable -> its value, which becomes a constant.

    Raises:
        Unconvertible: one file cannot hold the weights.
    """
    size = sum(value.nbytes for value in values.values())
    if size > LARGEST_BYTES:
        raise errors.Unconvertible(_too_large(size))
    size += int(graph.as_graph_def().ByteSize())
    if size > LARGEST_BYTES:
        raise errors.Unconvertible(_too_large(size))


def write_graph(frozen: Any, path: Path) -> GraphFile:
    """Writes a frozen GraphDef; the same graph always gives the same bytes.

    Raises:
        Unconvertible: it is too large for a file.
        ScratchUnavailable: it cannot be written.
    """
    size = frozen.ByteSize()
    if size > LARGEST_BYTES:
        raise errors.Unconvertible(_too_large(size))
    write_message(frozen, path)
    return GraphFile(path.name, path.stat().st_size, sha256_of(path), len(frozen.node))


def write_formats(
    formats: Sequence[ExtraFormat],
    frozen: Any,
    towers: Sequence[Tower],
    folder: Path,
    report: Report,
) -> list[ArtifactFile]:
    """Writes other formats of a frozen graph and describes their files.

    Raises:
        Unconvertible: a format cannot hold the graph, or needs what is not installed.
        ScratchUnavailable: a file cannot be written.
    """
    written = []
    for one in formats:
        report(Progress(Step.FORMAT, one.value))
        path = one.write(frozen, towers, folder)
        written.append(file_described(path, ArtifactFileKind(one.value)))
    return written


def file_described(path: Path, kind: ArtifactFileKind) -> ArtifactFile:
    """Returns the description of a file that has been written."""
    return ArtifactFile(path.name, path.stat().st_size, sha256_of(path), kind)


def _too_large(size: int) -> str:
    return (
        f"the frozen graph would have {size} bytes, and a graph file holds at most "
        f"{LARGEST_BYTES}; a SavedModel with variables has no such limit: export one from "
        "the training code for TensorFlow Serving"
    )
