"""Under which key the graph's own saver writes each variable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from exporter_service.meta_graph.reading.constants import constant_value
from exporter_service.meta_graph.reading.node_graph import NodeGraph, Port, port_of
from exporter_service.meta_graph.reading.variables import variable_of

# Op -> position of the first tensor; slices stand before it, if the op has them.
_FIRST_TENSOR = {"SaveV2": 3, "SaveSlices": 3, "Save": 2}


@dataclass(frozen=True, slots=True)
class SavedAs:
    """A checkpoint key, and the part of its tensor that is the variable (`0,10:-`; empty: all)."""

    key: str
    part: str = ""

    def of(self, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Returns the variable's part of a key's value.

        Raises:
            ValueError: the part lies outside the value.
        """
        if not self.part:
            return value
        ranges = []
        for size, piece in zip(value.shape, self.part.split(":"), strict=True):
            start, length = (0, size) if piece == "-" else map(int, piece.split(","))
            if start + length > size:
                raise ValueError(f"part {self.part} lies outside {list(value.shape)}")
            ranges.append(slice(start, start + length))
        return value[tuple(ranges)]


def saver_keys(graph: NodeGraph, save_tensor: str) -> Mapping[str, SavedAs]:
    """Returns variable -> key for what the saver with this tensor writes.

    Args:
        graph: the whole training graph.
        save_tensor: `SaverDef.save_tensor_name`; a graph without a saver has none.
    """
    found: dict[str, SavedAs] = {}
    for name in _saving_nodes(graph, port_of(save_tensor).node if save_tensor else ""):
        first = _FIRST_TENSOR[graph.nodes[name].op]
        inputs = graph.inputs(name)
        keys = _texts(graph, inputs[1])
        slices = _texts(graph, inputs[2]) if first == 3 else [""] * len(keys)
        for key, part, tensor in zip(keys, slices, inputs[first:], strict=False):
            variable = variable_of(graph, tensor)
            if variable is not None:
                # `20 10 0,10:-`: the whole's dimensions, then the part.
                found.setdefault(variable, SavedAs(key, part.rpartition(" ")[2]))
    return found


def _saving_nodes(graph: NodeGraph, root: str) -> list[str]:
    """Returns the nodes that write when the saver's tensor is asked for."""
    found, waiting = set[str](), [root]
    while waiting:
        name = waiting.pop()
        if name in found or name not in graph.nodes:
            continue
        found.add(name)
        if graph.nodes[name].op not in _FIRST_TENSOR:
            waiting.extend(port.node for port in graph.inputs(name))
            waiting.extend(graph.controls(name))
    return sorted(name for name in found if graph.nodes[name].op in _FIRST_TENSOR)


def _texts(graph: NodeGraph, port: Port) -> list[str]:
    value = constant_value(graph, port)
    return [] if value is None else [item.decode(errors="replace") for item in value.reshape(-1)]
