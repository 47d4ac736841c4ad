"""One conversion, step by step: checkpoint -> towers -> restored -> frozen -> other formats.

Runs in a process of its own (`task_process`), because TensorFlow may crash, leak or abort
there and nowhere else. The proof (`proof`) runs in another one.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from exporter_service.checkpoints.checkpoint import Checkpoint
from exporter_service.checkpoints.key_list import counted
from exporter_service.checkpoints.key_rewrites import rewritten
from exporter_service.conversion.architecture_graph import architecture_graph
from exporter_service.graphs import freezing
from exporter_service.graphs.graph_file import (
    check_size,
    file_described,
    graph_name,
    write_formats,
    write_graph,
)
from exporter_service.graphs.session import reason, restore, session_config
from exporter_service.graphs.tower_graph import TowerGraph
from exporter_service.graphs.towers import check_labels, check_servable
from exporter_service.meta_graph.towers.build import meta_graph_towers
from exporter_service.parity.any_batch import answers_any_batch
from exporter_service.parity.comparison import answers
from exporter_service.parity.proof_file import Proof, write_proof
from exporter_service.specs.conversion import ConversionSpec, FreezingRoute
from exporter_service.specs.names import META_GRAPH
from exporter_service.specs.probes import CALLER, Probe, check_probe, standard_probes
from exporter_service.specs.progress import Progress, Report, Step
from service_kit import __version__, errors
from service_kit.artifacts.manifest import ArtifactFile, ArtifactFileKind, Conversion, ParityReport

# Names of the recipe.
SINGLE_CHECKPOINT, MULTI_CHECKPOINT = "model.ckpt", "multi_model.ckpt"


def convert(conversion_spec: ConversionSpec, folder: Path, report: Report) -> Conversion:
    """Writes the frozen graph, its proof and other formats into `folder` and describes them.

    The description's parity holds the tolerance alone: nothing is proven yet.

    Raises:
        CheckpointCorrupt: the checkpoint's files are damaged.
        CheckpointMismatch: they are those of another model.
        MovingAverageMissing: required averages are absent.
        InvalidRequest: the key map or the probe does not fit.
        Unconvertible: the graph cannot be built, switched or frozen, is too large, or has not as
            many classes as there are labels.
        ScratchUnavailable: the folder is full.
    """
    report(Progress(Step.READ, conversion_spec.checkpoint.prefix.name))
    checkpoint = Checkpoint(conversion_spec.checkpoint)
    key_of = rewritten(checkpoint.tensors, conversion_spec.key_map)
    tensors = {name: checkpoint.tensors[key] for name, key in key_of.items()}

    def takes_any_batch(towers: TowerGraph) -> bool:
        return answers_any_batch(
            towers.graph,
            towers.towers[0],
            _values(towers, checkpoint, key_of),
            pixels=towers.pixels,
            open_size=towers.image_size,
        )

    built = (
        meta_graph_towers(conversion_spec, tensors, report, takes_any_batch)
        if conversion_spec.architecture.name == META_GRAPH
        else architecture_graph(conversion_spec, tensors, report)
    )
    outputs = [spec.tensor_name for tower in built.towers for spec in tower.outputs]

    check_servable(built.towers, unbatched=conversion_spec.unbatched)
    check_labels(conversion_spec.class_labels, built.towers)
    report(Progress(Step.RESTORE, _restored(built)))
    values = _values(built, checkpoint, key_of)
    check_size(built.graph, values)
    built = built.probed_as(conversion_spec.probe)
    probes = _probes(built, conversion_spec.probe)
    keep = conversion_spec.towers.keeps_pins
    name = MULTI_CHECKPOINT if conversion_spec.towers.cards > 1 else SINGLE_CHECKPOINT
    files: list[ArtifactFile] = []
    config = session_config(as_written=built.graph)
    with tf.Session(graph=built.graph, config=config) as session:
        restore(session, values)
        wanted = {probe: _answer(session, built, batch, probe) for probe, batch in probes.items()}
        report(Progress(Step.FREEZE))
        through_meta_graph = conversion_spec.freezing_route is FreezingRoute.META_GRAPH
        if not through_meta_graph:
            frozen = freezing.freeze_session(session, outputs, keep_devices=keep)
        if through_meta_graph or conversion_spec.keep_checkpoint:
            prefix = freezing.save_placeholder_checkpoint(session, folder, name)
        if through_meta_graph:
            frozen = freezing.freeze_meta_graph(prefix, outputs, keep_devices=keep)
        if conversion_spec.keep_checkpoint:
            files += _describe(folder.glob(f"{name}*"), ArtifactFileKind.CHECKPOINT)
    evaluation_copy = _evaluation_copy_answers(built, checkpoint, key_of, probes)
    proof = write_proof(Proof(probes, wanted, evaluation_copy, built.behind), folder)
    files += _describe([proof], ArtifactFileKind.PROOF)
    file_name = graph_name(
        conversion_spec.towers.cards,
        unbatched=conversion_spec.unbatched,
        max_batch=built.max_batch,
    )
    graph = write_graph(frozen, folder / file_name)
    files += write_formats(conversion_spec.formats, frozen, built.towers, folder, report)
    return Conversion(
        graph=graph,
        checkpoint=checkpoint.origin,
        architecture=built.architecture,
        moving_average=built.plan.report,
        preprocessing=built.preprocessing,
        towers=built.towers,
        parity=ParityReport((), conversion_spec.tolerance),
        tool_versions=tool_versions(),
        files=tuple(files),
        warnings=(*built.warnings, *_untrained(built, values)),
        meta_graph=built.meta_graph,
        class_labels=conversion_spec.class_labels,
        unbatched=conversion_spec.unbatched,
        max_batch=built.max_batch,
    )


def tool_versions() -> dict[str, str]:
    """Returns the versions of what writes an artifact."""
    return {
        "pbserve": __version__,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _restored(built: TowerGraph) -> str:
    report = built.plan.report
    return f"{len(built.plan.key_of)} variables, {report.from_shadow} moving averages"


def _describe(paths: Iterable[Path], kind: ArtifactFileKind) -> list[ArtifactFile]:
    return [file_described(path, kind) for path in sorted(paths)]


def _values(built: TowerGraph, checkpoint: Checkpoint, key_of: Mapping[str, str]) -> dict[str, Any]:
    """Returns the value of every variable of the graph."""
    with built.graph.as_default():
        names = [variable.op.name for variable in tf.global_variables()]
    keys = {name: key_of[built.plan.key_of[name]] for name in names}
    read = checkpoint.read(dict.fromkeys(keys.values()))
    values = {}
    for name, key in keys.items():
        try:
            values[name] = built.part(name, read[key])
        except ValueError as error:
            raise errors.CheckpointMismatch(f"{key} does not hold {name}: {error}") from error
    broken = [
        keys[name]
        for name, value in values.items()
        if value.dtype.kind == "f" and not np.isfinite(value).all()
    ]
    if broken:
        raise errors.Unconvertible(
            "the checkpoint's training has diverged; NaN or infinity in "
            f"{counted(broken)}: take an earlier checkpoint"
        )
    return values


def _probes(built: TowerGraph, callers: Probe) -> dict[str, Probe]:
    inputs = built.towers[0].inputs
    probes = standard_probes(
        inputs, pixels=built.pixels, open_size=built.image_size, max_batch=built.max_batch
    )
    if built.behind:
        # What is fed behind the augmentation has been cast already.
        probes = {
            name: {one: batch.astype(np.float32) for one, batch in probe.items()}
            for name, probe in probes.items()
        }
    return {**probes, CALLER: check_probe(callers, inputs, built.max_batch)} if callers else probes


def _answer(session: Any, built: TowerGraph, probe: Probe, name: str) -> Any:
    try:
        return answers(session, built.towers, probe, built.behind)
    except (tf.errors.OpError, ValueError) as error:
        raise errors.Unconvertible(
            f"the restored graph cannot be run on the probe {name!r}: {reason(error)}"
        ) from error


def _evaluation_copy_answers(
    built: TowerGraph,
    checkpoint: Checkpoint,
    key_of: Mapping[str, str],
    probes: Mapping[str, Probe],
) -> dict[str, dict[str, Any]]:
    evaluation_copy = built.evaluation_copy
    if evaluation_copy is None:
        return {}
    config = session_config(as_written=evaluation_copy.graph)
    with tf.Session(graph=evaluation_copy.graph, config=config) as session:
        restore(session, _values(evaluation_copy, checkpoint, key_of))
        return {
            name: _answer(session, evaluation_copy, probe, name)[0]
            for name, probe in probes.items()
        }


def _untrained(built: TowerGraph, values: Mapping[str, Any]) -> list[str]:
    """Returns a warning when moving statistics are still what they were initialised to."""
    untouched = [
        name
        for name in sorted(built.statistics & values.keys())
        if not values[name].any() or (values[name] == 1).all()
    ]
    if not untouched:
        return []
    warning = (
        f"moving statistics still at their initial 0 or 1: {counted(untouched)}; the training did "
        "not run their updates, so batch norms do nothing here that they did there"
    )
    return [warning]
