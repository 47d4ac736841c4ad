"""A frozen graph that exists already becomes an artifact: its towers are found and checked.

Runs in a process of its own, as conversions do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.checkpoints.key_list import counted
from exporter_service.conversion.convert import tool_versions
from exporter_service.formats.model_file import LARGEST_BYTES
from exporter_service.graphs.graph_file import (
    file_described,
    graph_name,
    write_formats,
)
from exporter_service.graphs.session import reason, session_config
from exporter_service.graphs.towers import INPUT, check_labels, check_servable, tensor_spec
from exporter_service.meta_graph.detection.feeds import PLACEHOLDERS
from exporter_service.meta_graph.detection.leftovers import refuse_everywhere, refuse_leftovers
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port
from exporter_service.meta_graph.reading.tensor_names import find_port, parse_name, semantic_names
from exporter_service.meta_graph.reading.variables import REFERENCE, RESOURCE
from exporter_service.meta_graph.rewriting.pruning import pruned
from exporter_service.parity.comparison import answers
from exporter_service.specs.conversion import AdoptionRequest, AdoptionSpec
from exporter_service.specs.probes import CALLER, check_probe, standard_probes
from exporter_service.specs.progress import Progress, Report, Step
from service_kit import errors
from service_kit.artifacts.digest import sha256_of
from service_kit.artifacts.manifest import (
    ArchitectureSpec,
    ArtifactFileKind,
    CheckpointFormat,
    CheckpointOrigin,
    Conversion,
    GraphFile,
    MovingAverageMode,
    MovingAverageReport,
    ParityReport,
    Preprocessing,
    TensorSpec,
    Tower,
)
from service_kit.artifacts.proof_file import Proof, write_proof

FROZEN_GRAPH = "FROZEN_GRAPH"
# `Card_0/...`: the recipe's towers, with any prefix.
_SCOPE = re.compile(r"((?:[A-Za-z0-9.][A-Za-z0-9_.\-/]*)_)(\d+)/")


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
    graph = NodeGraph(definition)
    refuse_everywhere(graph)
    found = _towers(graph, request)
    report(Progress(Step.BUILD, f"{len(found)} card(s)"))
    imported = tf.Graph()
    with imported.as_default():
        try:
            tf.import_graph_def(definition, name="")
        except (ValueError, TypeError, KeyError) as error:
            raise errors.Unconvertible(f"TensorFlow does not take the graph: {error}") from error
    towers = tuple(
        Tower(index, scope, graph.nodes[outputs[0].node].device if scope else "",
              _specs(imported, request.inputs, inputs, INPUT),
              _specs(imported, request.outputs, outputs, "", whole=request.unbatched))
        for index, (scope, inputs, outputs) in enumerate(found)
    )  # fmt: skip
    check_servable(towers, unbatched=request.unbatched)
    check_labels(request.class_labels, towers)
    probes = standard_probes(towers[0].inputs, pixels=False)
    if request.probe:
        probes[CALLER] = check_probe(request.probe, towers[0].inputs)
    with tf.Session(graph=imported, config=session_config(as_written=imported)) as session:
        try:
            wanted = {name: answers(session, towers, probe) for name, probe in probes.items()}
        except (tf.errors.OpError, ValueError) as error:
            raise errors.Unconvertible(f"the graph cannot be run: {reason(error)}") from error
    path = folder / graph_name(len(towers), unbatched=request.unbatched)
    try:
        # What was checked, whatever the file holds by now.
        path.write_bytes(content)
    except OSError as error:
        raise errors.ScratchUnavailable(
            f"cannot write {len(content)} bytes into the temporary folder: {error.strerror}"
        ) from error
    proof = write_proof(Proof(probes, wanted), folder)
    files = [file_described(proof, ArtifactFileKind.PROOF)]
    files += write_formats(request.formats, definition, towers, folder, report)
    digest = sha256_of(path)
    return Conversion(
        graph=GraphFile(path.name, path.stat().st_size, digest, len(definition.node)),
        checkpoint=CheckpointOrigin(
            adoption_spec.shown or adoption_spec.graph.name,
            None,
            CheckpointFormat.FROZEN_GRAPH,
            index_sha256=digest,
        ),
        architecture=ArchitectureSpec(FROZEN_GRAPH, {}),
        moving_average=MovingAverageReport(MovingAverageMode.AUTO, 0, 0, {}),
        preprocessing=Preprocessing(),
        towers=towers,
        parity=ParityReport((), request.tolerance),
        tool_versions=tool_versions(),
        files=tuple(files),
        class_labels=request.class_labels,
        unbatched=request.unbatched,
    )


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


def _towers(graph: NodeGraph, request: AdoptionRequest) -> list[tuple[str, list[Port], list[Port]]]:
    """Returns scope, inputs and outputs of each tower."""
    scopes = _scopes(graph)
    if not scopes:
        return [("", *_borders(graph, request, ""))]
    return [(scope, *_borders(graph, request, f"{scope}/")) for scope in scopes]


def _scopes(graph: NodeGraph) -> list[str]:
    """Returns the scopes `<prefix>_0`, `<prefix>_1`, ... that all have placeholders."""
    numbers: dict[str, set[int]] = {}
    for name in graph.of_op(*PLACEHOLDERS):
        match = _SCOPE.match(name)
        if match:
            numbers.setdefault(match[1], set()).add(int(match[2]))
    whole = [prefix for prefix, found in numbers.items() if found == set(range(len(found)))]
    if len(whole) != 1 or len(numbers) != 1:
        return []
    others = [name for name in graph.of_op(*PLACEHOLDERS) if not _SCOPE.match(name)]
    return [] if others else [f"{whole[0]}{i}" for i in range(len(numbers[whole[0]]))]


def _borders(
    graph: NodeGraph, request: AdoptionRequest, prefix: str
) -> tuple[list[Port], list[Port]]:
    inputs = _named(graph, request.inputs, prefix, "input") or [
        Port(name)
        for name in graph.of_op("Placeholder", "PlaceholderV2")
        if name.startswith(prefix)
    ]
    if not inputs:
        raise errors.Unconvertible("the graph has no placeholder: name its inputs")
    outputs = _named(graph, request.outputs, prefix, "output") or _ends(graph, inputs, prefix)
    small = pruned(graph, outputs, inputs)
    refuse_leftovers(small)
    return inputs, outputs


def _named(graph: NodeGraph, texts: Sequence[str], prefix: str, what: str) -> list[Port]:
    ports = [parse_name(text)[1] for text in texts]
    return [find_port(graph, Port(prefix + port.node, port.number), what) for port in ports]


def _ends(graph: NodeGraph, inputs: list[Port], prefix: str) -> list[Port]:
    """Returns what depends on the inputs and is taken by nothing else."""
    consumers = graph.consumers()
    dependents = graph.dependents(inputs)
    ends = sorted(
        name
        for name in dependents
        if name.startswith(prefix) and name not in consumers and graph.nodes[name].op != "Assert"
    )
    if not ends:
        raise errors.Unconvertible("nothing depends on the graph's inputs: name its outputs")
    return [Port(name) for name in ends]


def _specs(
    imported: Any, texts: Sequence[str], ports: list[Port], sole: str, *, whole: bool = False
) -> tuple[TensorSpec, ...]:
    aliases = [parse_name(text)[0] for text in texts] or [""] * len(ports)
    names = semantic_names(aliases, ports, sole or ports[0].node.rpartition("/")[2])
    specs = []
    for name, port in zip(names, ports, strict=True):
        tensor = imported.get_tensor_by_name(port.tensor_name)
        if whole and tensor.shape.rank is not None:
            specs.append(tensor_spec(name, tensor))
            continue
        if tensor.shape.rank is None or tensor.shape.rank < 1:
            raise errors.Unconvertible(
                f"{port.tensor_name} has shape {tensor.shape}: inputs and outputs have the batch "
                "as their first dimension; name others"
            )
        if tensor.shape[0] not in (None, 1):
            raise errors.Unconvertible(
                f"{port.tensor_name} has shape {tensor.shape}: it takes one size of batch only"
            )
        spec = tensor_spec(name, tensor)
        specs.append(TensorSpec(name, spec.tensor_name, spec.dtype, (-1, *spec.shape[1:])))
    return tuple(specs)
