"""A tower of a frozen graph as a file in memory, for engines that read files.

It has the tower's inputs and outputs under names of its own, and nothing that the outputs do not
need: wherever in the graph a tower begins and ends, its file begins with placeholders and ends with
identities.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service_kit.artifacts.manifest import TensorSpec, Tower
from service_kit.frozen_graph.op_allowance import check_ops
from service_kit.frozen_graph.tower_graph import PinnedTower, TowerGraph
from service_kit.tensorflow_messages import POOL, GraphDef

_DATA_TYPES = POOL.FindEnumTypeByName("tensorflow.DataType").values_by_name
# Of NumPy's names those that TensorFlow does not spell alike.
_TYPE_NAMES = {"float16": "HALF", "float32": "FLOAT", "float64": "DOUBLE"}


@dataclass(frozen=True, slots=True)
class TowerFile:
    """Where the file can be read, and the names of its inputs and outputs, in the specs' order."""

    path: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@contextlib.contextmanager
def tower_file(
    towers: TowerGraph, tower: Tower, allowed_ops: Collection[str]
) -> Iterator[TowerFile]:
    """Yields the file of a tower, which is there until the block ends.

    Args:
        towers: the whole graph.
        tower: what to take of it.
        allowed_ops: that graphs may have besides those that only compute.

    Raises:
        EngineFailed: a tensor is not in the graph.
        GraphRefused: an op is not allowed.
    """
    graph, _ = towers.pinned([PinnedTower(tower, "")])
    check_ops(graph, allowed_ops)
    scope = _free_scope(graph)
    inputs = _feed(graph, scope, tower.inputs)
    outputs = _fetch(graph, scope, tower.outputs, inputs)
    descriptor = os.memfd_create("tower", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(GraphDef(versions=graph.versions, library=graph.library).SerializeToString())
            # One by one: messages that follow each other are one, and a large one would be
            # written with the interpreter's lock held.
            for node in _needed(graph, outputs):
                piece = GraphDef()
                piece.node.add().CopyFrom(node)
                file.write(piece.SerializeToString())
        del graph
        yield TowerFile(
            f"/proc/self/fd/{descriptor}",
            tuple(f"{name}:0" for name in inputs.values()),
            tuple(
                f"{inputs.get(_whole(spec.tensor_name), name)}:0"
                for spec, name in zip(tower.outputs, outputs, strict=True)
            ),
        )
    finally:
        os.close(descriptor)


def _free_scope(graph: Any) -> str:
    scope = "border"
    taken = {node.name.partition("/")[0] for node in graph.node}
    while scope in taken:
        scope += "_"
    return scope


def _feed(graph: Any, scope: str, specs: Sequence[TensorSpec]) -> dict[str, str]:
    """Puts placeholders before what is fed; returns their names by that of the fed tensor."""
    fed = {_whole(spec.tensor_name): f"{scope}/input_{n}" for n, spec in enumerate(specs)}
    for node in graph.node:
        for position, source in enumerate(node.input):
            if _whole(source) in fed:
                node.input[position] = fed[_whole(source)]
    for spec in specs:
        made = graph.node.add(name=fed[_whole(spec.tensor_name)], op="Placeholder")
        made.attr["dtype"].type = _data_type(spec.dtype)
        for size in spec.shape:
            made.attr["shape"].shape.dim.add().size = size
    return fed


def _fetch(
    graph: Any, scope: str, specs: Sequence[TensorSpec], fed: Mapping[str, str]
) -> list[str]:
    """Puts identities behind what is fetched; returns their names.

    An input that is fetched as it is stays under its own: readers leave out what does nothing.
    """
    names = []
    for number, spec in enumerate(specs):
        source = _whole(spec.tensor_name)
        made = graph.node.add(name=f"{scope}/output_{number}", op="Identity")
        made.input.append(fed.get(source, source))
        made.attr["T"].type = _data_type(spec.dtype)
        names.append(made.name)
    return names


def _needed(graph: Any, outputs: Sequence[str]) -> Iterator[Any]:
    nodes = {node.name: node for node in graph.node}
    waiting, seen = list(outputs), set(outputs)
    while waiting:
        node = nodes[waiting.pop()]
        yield node
        for source in node.input:
            name = source.removeprefix("^").partition(":")[0]
            if name not in seen:
                seen.add(name)
                waiting.append(name)


def _whole(source: str) -> str:
    """Returns a tensor's name with its port; a control input stays what it is."""
    return source if source.startswith("^") or ":" in source else f"{source}:0"


def _data_type(dtype: str) -> int:
    number: int = _DATA_TYPES[f"DT_{_TYPE_NAMES.get(dtype, dtype.upper())}"].number
    return number
