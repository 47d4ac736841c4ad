"""Reads what a checkpoint holds and what it fits; runs in a process of its own."""

from __future__ import annotations

from exporter_service.architectures.registry import fitting_architectures
from exporter_service.checkpoints.checkpoint import Checkpoint
from exporter_service.checkpoints.contents import CheckpointContents
from exporter_service.checkpoints.graph_contents import MetaGraphContents
from exporter_service.checkpoints.roots import CheckpointLocation
from exporter_service.meta_graph.reading.meta_file import malformed_named, meta_path, parse_meta
from exporter_service.meta_graph.towers.survey import survey
from exporter_service.specs.progress import Progress, Report, Step
from service_kit import errors


def inspect_checkpoint(location: CheckpointLocation, report: Report) -> CheckpointContents:
    """Reads a checkpoint's keys, and the training graph beside it.

    Raises:
        CheckpointCorrupt: its index is damaged. What is wrong with the graph is in the result.
    """
    report(Progress(Step.READ, location.prefix.name))
    checkpoint = Checkpoint(location)
    graph: MetaGraphContents | None = None
    problem = ""
    if meta_path(location).exists():
        try:
            with malformed_named():
                graph = survey(parse_meta(meta_path(location)))
        except errors.PbserveError as error:
            problem = str(error)
    return CheckpointContents(
        checkpoint=checkpoint.origin,
        shard_count=checkpoint.shard_count,
        tensors=checkpoint.tensors,
        fitting=tuple(fitting_architectures(checkpoint.shapes)),
        meta_graph=graph,
        meta_graph_problem=problem,
    )
