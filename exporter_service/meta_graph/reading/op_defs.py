"""What TensorFlow knows of a node's op: its outputs, their types, whether it keeps state."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf
from tensorflow.python.framework import op_def_registry

UNIFORM = frozenset(
    ["RandomUniform", "StatelessRandomUniform", "StatelessRandomUniformV2",
     "StatefulUniform"]
)  # fmt: skip


def registered(op: str) -> bool:
    """Whether this TensorFlow has the op."""
    return op_def_registry.get(op) is not None


def is_stateful(op: str) -> bool:
    """Whether the op keeps or reads state, so that equal inputs may give other outputs."""
    definition = op_def_registry.get(op)
    return definition is not None and bool(definition.is_stateful)


def takes_function(op: str) -> bool:
    """Whether the op calls a function that an attribute names."""
    definition = op_def_registry.get(op)
    return definition is not None and any("func" in one.type for one in definition.attr)


def takes_reference(op: str) -> bool:
    """Whether the op takes a variable itself and not its value, as those do that change it."""
    definition = op_def_registry.get(op)
    return definition is not None and any(one.is_ref for one in definition.input_arg)


def reference_inputs(op: str) -> frozenset[int]:
    """Returns the positions at which the op takes a variable itself and not its value."""
    definition = op_def_registry.get(op)
    if definition is None:
        return frozenset()
    return frozenset(place for place, one in enumerate(definition.input_arg) if one.is_ref)


def output_types(node: Any) -> list[int] | None:
    """Returns the type enum of each output of a node; None for an op that is not registered."""
    definition = op_def_registry.get(node.op)
    if definition is None:
        return None
    types: list[int] = []
    for output in definition.output_arg:
        if output.type_list_attr:
            types.extend(node.attr[output.type_list_attr].list.type)
            continue
        one = output.type or node.attr[output.type_attr].type
        count = node.attr[output.number_attr].i if output.number_attr else 1
        types.extend([one] * count)
    return types


def dtype_name(enum: int) -> str:
    """Returns the NumPy name of a type enum (`float32`)."""
    return str(tf.as_dtype(enum).name)


def stated_shape(node: Any, index: int) -> list[int] | None:
    """Returns the dimensions (-1: any) that the graph states for an output; None: unknown.

    Savers write `_output_shapes`; placeholders, iterators and queues state theirs themselves.
    """
    # A queue's `shapes` are those of its elements, and not of the queue.
    for name in ("_output_shapes", "output_shapes"):
        if name in node.attr and index < len(node.attr[name].list.shape):
            return _dimensions(node.attr[name].list.shape[index])
    if "shape" in node.attr and node.attr["shape"].HasField("shape"):
        return _dimensions(node.attr["shape"].shape)
    return None


def element_shape(node: Any, number: int) -> list[int] | None:
    """Returns the dimensions of one component of a queue's elements; None: unknown."""
    if "shapes" in node.attr and number < len(node.attr["shapes"].list.shape):
        return _dimensions(node.attr["shapes"].list.shape[number])
    return None


def _dimensions(shape: Any) -> list[int] | None:
    return None if shape.unknown_rank else [int(dimension.size) for dimension in shape.dim]
