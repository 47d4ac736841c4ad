"""Reads what a checkpoint holds and what it fits; runs in a process of its own."""

from __future__ import annotations

from exporter_service.architectures.registry import fitting_architectures
from exporter_service.checkpoint import Checkpoint
from exporter_service.checkpoint_contents import CheckpointContents
from exporter_service.checkpoint_roots import CheckpointLocation
from exporter_service.progress import Progress, Report, Step


def inspect_checkpoint(location: CheckpointLocation, report: Report) -> CheckpointContents:
    """Reads a checkpoint's keys.

    Raises:
        CheckpointCorrupt: its index is damaged.
    """
    report(Progress(Step.READ, location.prefix.name))
    checkpoint = Checkpoint(location)
    return CheckpointContents(
        checkpoint=checkpoint.origin,
        shard_count=checkpoint.shard_count,
        tensors=checkpoint.tensors,
        fitting=tuple(fitting_architectures(checkpoint.shapes)),
    )
