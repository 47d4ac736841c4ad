"""The towers of a frozen graph as TensorFlow has them: tensors, and how many images they take."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from exporter_service.conversion.frozen_switch import FrozenGraph, batch_sizes, free_frozen
from exporter_service.graphs.towers import INPUT, tensor_spec
from exporter_service.meta_graph.reading.node_graph import Port
from exporter_service.meta_graph.reading.tensor_names import parse_name, semantic_names
from exporter_service.parity.any_batch import answers_any_batch
from exporter_service.specs.conversion import AdoptionRequest
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec, Tower


def import_towers(
    frozen: FrozenGraph, request: AdoptionRequest
) -> tuple[FrozenGraph, Any, tuple[Tower, ...], int]:
    """Returns the graph, imported, with its towers, and how many images they take in one run.

    A graph that is made for one size of batch is freed from it where that works. One that is made
    for one image stays as it is where it does not; then the number is 1, else 0 for any.

    Raises:
        Unconvertible: TensorFlow does not take it, or an input or output has no batch.
    """
    sizes = batch_sizes(frozen)
    # What is answered whole would speak of one of the images alone.
    if sizes and not request.unbatched and not frozen.noise:
        with contextlib.suppress(errors.Unconvertible):
            freed = free_frozen(frozen)
            imported = _imported(freed.definition)
            towers = _described(freed, imported, request)
            if all(answers_any_batch(imported, tower, {}) for tower in towers):
                return freed, imported, towers, 0
    if sizes - {1}:
        raise errors.Unconvertible(
            f"freeze the graph with inputs of any batch: it takes {max(sizes)} images and no other "
            "number, and does not work when that is changed"
        )
    imported = _imported(frozen.definition)
    return frozen, imported, _described(frozen, imported, request), int(bool(sizes))


def _imported(definition: Any) -> Any:
    imported = tf.Graph()
    with imported.as_default():
        try:
            tf.import_graph_def(definition, name="")
        except (ValueError, TypeError, KeyError) as error:
            raise errors.Unconvertible(f"TensorFlow does not take the graph: {error}") from error
    return imported


def _described(frozen: FrozenGraph, imported: Any, request: AdoptionRequest) -> tuple[Tower, ...]:
    devices = {node.name: node.device for node in frozen.definition.node}
    return tuple(
        Tower(index, one.scope, devices[one.outputs[0].node] if one.scope else "",
              _specs(imported, request.inputs, one.inputs, INPUT),
              _specs(imported, request.outputs, one.outputs, "", whole=request.unbatched))
        for index, one in enumerate(frozen.towers)
    )  # fmt: skip


def _specs(
    imported: Any, texts: Sequence[str], ports: Sequence[Port], sole: str, *, whole: bool = False
) -> tuple[TensorSpec, ...]:
    aliases = [parse_name(text)[0] for text in texts] or [""] * len(ports)
    names = semantic_names(aliases, ports, sole or ports[0].node.rpartition("/")[2])
    specs = []
    for name, port in zip(names, ports, strict=True):
        tensor = imported.get_tensor_by_name(port.tensor_name)
        if whole and tensor.shape.rank is not None:
            specs.append(tensor_spec(name, tensor))
            continue
        if tensor.shape.rank is None:
            raise errors.Unconvertible(
                f"give the inputs a shape with --shape NAME=-1,..., or a number with --bind: the "
                f"dimensions of {port.tensor_name} are not known"
            )
        if tensor.shape.rank < 1:
            raise errors.Unconvertible(
                f"--bind {port.node}=VALUE, if it is an input, or name another: {port.tensor_name} "
                "is a single number, and inputs and outputs have the batch as their first dimension"
            )
        if tensor.shape[0] not in (None, 1):
            raise errors.Unconvertible(
                f"{port.tensor_name} has shape {tensor.shape}: it takes one size of batch only"
            )
        spec = tensor_spec(name, tensor)
        specs.append(TensorSpec(name, spec.tensor_name, spec.dtype, (-1, *spec.shape[1:])))
    return tuple(specs)
