"""Whether an output has exactly one row an image, so that requests may share a batch.

Rows of a packed batch are handed out by position. An output with as many rows as its data has (a
mask, a selection of boxes) would give callers the rows of others, however well the totals agree.
So the number of rows is proven: by shape inference for batches of two sizes, and where that does
not know (loops), by following where the number comes from (`row_origin`) and by runs.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service_kit import errors
from service_kit.artifacts.manifest import Tower
from service_kit.frozen_graph.row_origin import data_behind_rows
from service_kit.frozen_graph.tower_graph import TowerGraph

# One size could be met by accident: by the number of classes, for example.
BATCHES = (2, 3)
# Constants of so many elements are weights; what they hold says nothing about shapes.
_WEIGHT_ELEMENTS = 1024
_SCOPE = "rows"


class Rows(enum.Enum):
    """What is known of an output's rows without running it."""

    ONE_AN_IMAGE = "ONE_AN_IMAGE"
    # Runs have to tell; nothing speaks against it.
    NOT_KNOWN = "NOT_KNOWN"
    OTHERS = "OTHERS"


@dataclass(frozen=True, slots=True)
class OutputRows:
    """An output by its semantic name, and in words what its rows depend on."""

    name: str
    rows: Rows
    reason: str = ""


def infer_rows(graph: Any, tower: Tower, max_batch: int = 0) -> tuple[OutputRows, ...]:
    """Returns what shape inference knows of the rows of a tower's outputs, in their order.

    Args:
        graph: a frozen `GraphDef`, whose ops have been checked.
        tower: its tensors.
        max_batch: most images that it takes in one run; 0: any number.

    Raises:
        EngineFailed: TensorFlow does not take the graph, or it lacks a tensor.
    """
    shapes_alone = _without_weights(graph, TowerGraph(graph).nodes_of(tower))
    batches = (max_batch,) if max_batch else BATCHES
    found = [_outputs_for(shapes_alone, tower, batch) for batch in batches]
    return tuple(
        _judge(spec.name, batches, [outputs[position] for outputs, _ in found], found[0][1])
        for position, spec in enumerate(tower.outputs)
    )


def _judge(
    name: str, batches: Sequence[int], outputs: Sequence[Any], fed: Sequence[Any]
) -> OutputRows:
    sizes = [_rows(output) for output in outputs]
    if all(size == batch for size, batch in zip(sizes, batches, strict=True)):
        return OutputRows(name, Rows.ONE_AN_IMAGE)
    for size, batch in zip(sizes, batches, strict=True):
        if size is not None and size != batch:
            rows = "no rows" if size < 0 else f"{size} rows"
            return OutputRows(name, Rows.OTHERS, f"it has {rows} for {batch} images")
    origin = data_behind_rows(outputs[sizes.index(None)], fed)
    if origin:
        return OutputRows(name, Rows.OTHERS, f"how many rows it has depends on the data: {origin}")
    return OutputRows(name, Rows.NOT_KNOWN)


def _rows(output: Any) -> int | None:
    """Returns the first dimension; -1: there is none, None: it is not known."""
    if output.shape.rank is None:
        return None
    size: int | None = output.shape.as_list()[0] if output.shape.rank else -1
    return size


def _outputs_for(shapes_alone: Any, tower: Tower, batch: int) -> tuple[list[Any], list[Any]]:
    """Returns the outputs and inputs of the tower in a graph for one size of batch."""
    import tensorflow.compat.v1 as tf

    placed = tf.Graph()
    with placed.as_default():
        fed = [
            tf.placeholder(
                tf.as_dtype(spec.dtype),
                [batch, *(None if size < 0 else size for size in spec.shape[1:])],
            )
            for spec in tower.inputs
        ]
        inputs = {spec.tensor_name: tensor for spec, tensor in zip(tower.inputs, fed, strict=True)}
        try:
            outputs = tf.import_graph_def(
                shapes_alone,
                name=_SCOPE,
                input_map=inputs,
                return_elements=[spec.tensor_name for spec in tower.outputs],
            )
        except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
            words = str(error).replace(f"{_SCOPE}/", "")
            raise errors.EngineFailed(
                f"TensorFlow cannot import the graph for {batch} images: {words}"
            ) from error
    return list(outputs), fed


def _without_weights(graph: Any, nodes: Sequence[Any]) -> Any:
    """Returns a graph of some nodes, with placeholders in the place of large constants."""
    made = type(graph)(versions=graph.versions, library=graph.library)
    for node in nodes:
        copy = made.node.add()
        tensor = node.attr["value"].tensor if node.op == "Const" else None
        if tensor is None or _elements(tensor.tensor_shape) < _WEIGHT_ELEMENTS:
            copy.CopyFrom(node)
        else:
            copy.name, copy.op = node.name, "Placeholder"
            copy.input.extend(node.input)
            copy.attr["dtype"].type = tensor.dtype
            copy.attr["shape"].shape.CopyFrom(tensor.tensor_shape)
        # Says nothing about shapes, and Python spends most of an import on devices.
        copy.device = ""
        copy.attr.pop("_class", None)
        copy.attr.pop("_output_shapes", None)
    return made


def _elements(shape: Any) -> int:
    elements = 1
    for dimension in shape.dim:
        elements *= max(0, dimension.size)
    return elements
