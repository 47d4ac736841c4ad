"""Reads a `.meta` file: the protos are parsed, nothing is imported."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

from exporter_service.architectures.checkpoint_match import described_fits
from exporter_service.architectures.registry import fitting_architectures
from exporter_service.checkpoints.contents import StoredTensor
from exporter_service.checkpoints.roots import CheckpointLocation
from exporter_service.formats.model_file import LARGEST_BYTES
from service_kit import errors

_TEXT_BEGINNINGS = (b"meta_info_def", b"graph_def")


@contextlib.contextmanager
def malformed_named() -> Iterator[None]:
    """Turns what a walk over a malformed graph runs into into an error that says so.

    Raises:
        MetaGraphUnusable: a node has not the inputs or attributes that its op has.
    """
    try:
        yield
    except errors.PbserveError:
        raise
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise errors.MetaGraphUnusable(
            f"the graph is malformed: a node has not what its op takes ({error!r}); copy the file "
            "again"
        ) from error


def meta_path(location: CheckpointLocation) -> Path:
    """Returns where the Saver writes the graph of a checkpoint."""
    return location.prefix.with_name(location.prefix.name + ".meta")


def read_meta(location: CheckpointLocation, tensors: Mapping[str, StoredTensor]) -> Any:
    """Returns the MetaGraphDef beside a checkpoint, binary or as text.

    Raises:
        MetaGraphUnusable: the file is absent, too large, or no meta graph with nodes; says
            which architectures the checkpoint fits, which need no `.meta`.
    """
    path = meta_path(location)
    try:
        return parse_meta(path)
    except errors.MetaGraphUnusable as error:
        fitting = fitting_architectures({key: tensor.shape for key, tensor in tensors.items()})
        raise errors.MetaGraphUnusable(f"{error}. Without it: {described_fits(fitting)}") from error


def parse_meta(path: Path) -> Any:
    """Returns the MetaGraphDef in a file.

    Raises:
        MetaGraphUnusable: the file is absent, too large, or no meta graph with nodes.
    """
    try:
        if path.exists() and not path.is_file():
            # A pipe would never end, and a device is no graph.
            raise errors.MetaGraphUnusable(f"{path.name} is no regular file")
        if path.stat().st_size > LARGEST_BYTES:
            raise errors.MetaGraphUnusable(f"{path.name} is larger than a graph can be, 2 GiB")
        content = path.read_bytes()
    except OSError as error:
        raise errors.MetaGraphUnusable(
            f"{path.name} cannot be read: {error.strerror}; META_GRAPH needs the .meta file that "
            "the Saver wrote beside the checkpoint"
        ) from error
    if content.startswith(b"version https://git-lfs"):
        raise errors.MetaGraphUnusable(
            f"{path.name} is a Git LFS pointer, not the file: run `git lfs pull` where it came from"
        )
    meta = MetaGraphDef()
    try:
        if content.lstrip().startswith(_TEXT_BEGINNINGS):
            text_format.Parse(content, meta)
        else:
            meta.ParseFromString(content)
    # Both parsers raise classes of their own, which differ between protobuf's implementations.
    except Exception as error:
        raise errors.MetaGraphUnusable(
            f"{path.name} is no meta graph, or is cut off ({len(content)} bytes): {error}; copy "
            "it again"
        ) from error
    names = {node.name for node in meta.graph_def.node}
    if not names or len(names) != len(meta.graph_def.node) or not all(names):
        raise errors.MetaGraphUnusable(
            f"{path.name} holds {len(meta.graph_def.node)} nodes with {len(names)} names: it is "
            "no meta graph; copy it again, or give the .meta that belongs to the checkpoint"
        )
    return meta
