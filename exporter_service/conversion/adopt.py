"""A frozen graph that exists already becomes an artifact: its towers are found and checked.

Runs in a process of its own, as conversions do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.checkpoints.key_list import counted
from exporter_service.conversion.convert import tool_versions
from exporter_service.conversion.frozen_import import import_towers
from exporter_service.conversion.frozen_switch import FrozenGraph, switch_to_inference
from exporter_service.formats.model_file import LARGEST_BYTES, write_content
from exporter_service.graphs.graph_file import (
    file_described,
    graph_name,
    write_formats,
    write_graph,
)
from exporter_service.graphs.session import reason, session_config
from exporter_service.graphs.towers import check_labels, check_servable
from exporter_service.meta_graph.reading.parameters import parse_frozen_parameters
from exporter_service.meta_graph.reading.variables import REFERENCE, RESOURCE
from exporter_service.parity.comparison import answers
from exporter_service.specs.conversion import AdoptionSpec
from exporter_service.specs.names import FROZEN_GRAPH
from exporter_service.specs.probes import CALLER, check_probe, shaped_as, standard_probes
from exporter_service.specs.progress import Progress, Report, Step
from service_kit import errors
from service_kit.artifacts.digest import sha256_of
from service_kit.artifacts.manifest import (
    ArchitectureSpec,
    ArtifactFileKind,
    CheckpointFormat,
    CheckpointOrigin,
    Conversion,
    CutInput,
    GraphFile,
    MetaGraphReport,
    MovingAverageMode,
    MovingAverageReport,
    ParityReport,
    Preprocessing,
    Tower,
)
from service_kit.artifacts.proof_file import Proof, write_proof


def adopt(adoption_spec: AdoptionSpec, folder: Path, report: Report) -> Conversion:
    """Copies the graph into `folder` with a proof of its answers, and describes it.

    The description's parity holds the tolerance alone: nothing is proven yet.

    Raises:
        Unconvertible: it is no frozen graph, has no obvious inputs and outputs, or cannot be
            served; says which nodes. Or it has not as many classes as there are labels.
        InvalidRequest: the probe does not fit.
    """
    request = adoption_spec.request
    report(Progress(Step.READ, adoption_spec.graph.name))
    content = _content(adoption_spec.graph)
    definition = _parse(content, adoption_spec.graph.name)
    parameters = parse_frozen_parameters(request.parameters)
    frozen = switch_to_inference(definition, request, parameters)
    report(Progress(Step.BUILD, f"{len(frozen.towers)} card(s)"))
    frozen, imported, towers, max_batch = import_towers(frozen, request)
    towers = tuple(replace(one, inputs=shaped_as(request.probe, one.inputs)) for one in towers)
    check_servable(towers, unbatched=request.unbatched)
    check_labels(request.class_labels, towers)
    probes = standard_probes(towers[0].inputs, pixels=False, max_batch=max_batch)
    if request.probe:
        probes[CALLER] = check_probe(request.probe, towers[0].inputs, max_batch)
    with tf.Session(graph=imported, config=session_config(as_written=imported)) as session:
        try:
            wanted = {name: answers(session, towers, probe) for name, probe in probes.items()}
        except (tf.errors.OpError, ValueError) as error:
            raise errors.Unconvertible(f"the graph cannot be run: {reason(error)}") from error
    path = folder / graph_name(len(towers), unbatched=request.unbatched, max_batch=max_batch)
    if frozen.is_changed:
        described_graph = write_graph(frozen.definition, path)
    else:
        # What was checked, whatever the file holds by now.
        described_graph = _written(content, path, len(definition.node))
    proof = write_proof(Proof(probes, wanted), folder)
    files = [file_described(proof, ArtifactFileKind.PROOF)]
    files += write_formats(request.formats, frozen.definition, towers, folder, report)
    return Conversion(
        graph=described_graph,
        checkpoint=CheckpointOrigin(
            adoption_spec.shown or adoption_spec.graph.name,
            None,
            CheckpointFormat.FROZEN_GRAPH,
            index_sha256=hashlib.sha256(content).hexdigest(),
        ),
        architecture=ArchitectureSpec(FROZEN_GRAPH, parameters.model_dump(exclude_defaults=True)),
        moving_average=MovingAverageReport(MovingAverageMode.AUTO, 0, 0, {}),
        preprocessing=Preprocessing(),
        towers=towers,
        parity=ParityReport((), request.tolerance),
        tool_versions=tool_versions(),
        files=tuple(files),
        class_labels=request.class_labels,
        unbatched=request.unbatched,
        max_batch=max_batch,
        meta_graph=_report(frozen, towers) if frozen.is_changed else None,
    )


def _report(frozen: FrozenGraph, towers: Sequence[Tower]) -> MetaGraphReport:
    return MetaGraphReport(
        inputs=tuple(
            CutInput(spec.name, spec.tensor_name, "Placeholder", {}) for spec in towers[0].inputs
        ),
        batch_norms_switched=0,
        dropouts_removed=frozen.dropouts,
        bound=frozen.bound,
    )


def _written(content: bytes, path: Path, nodes: int) -> GraphFile:
    write_content(content, path)
    return GraphFile(path.name, len(content), sha256_of(path), nodes)


def _content(path: Path) -> bytes:
    if path.stat().st_size > LARGEST_BYTES:
        raise errors.Unconvertible(f"{path.name} is larger than a graph can be, 2 GiB")
    return path.read_bytes()


def _parse(content: bytes, name: str) -> Any:
    definition = tf.GraphDef()
    try:
        definition.ParseFromString(content)
    # protobuf's DecodeError differs between its implementations.
    except Exception as error:
        raise errors.Unconvertible(
            f"{name} is no frozen graph, or is cut off ({len(content)} bytes): {error}"
        ) from error
    if not definition.node or any(not node.op for node in definition.node):
        raise errors.Unconvertible(f"{name} is no frozen graph: it has no nodes")
    left = [node.name for node in definition.node if node.op in REFERENCE | RESOURCE]
    if left:
        raise errors.Unconvertible(
            f"{name} is not frozen: it has variables without values, {counted(left)}; convert "
            "the checkpoint instead"
        )
    return definition
