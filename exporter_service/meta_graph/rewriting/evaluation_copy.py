"""An evaluation copy of the same net in the same training graph, to compare numbers with."""

from __future__ import annotations

from typing import Any

from exporter_service.meta_graph.detection.heads import find_heads
from exporter_service.meta_graph.reading.node_graph import NodeGraph
from exporter_service.meta_graph.reading.parameters import MetaGraphParameters
from exporter_service.meta_graph.reading.variables import trainable_names
from exporter_service.meta_graph.rewriting.inference_graph import InferenceGraph
from exporter_service.meta_graph.rewriting.to_inference import DefaultNames, convert_to_inference
from service_kit import errors


def find_evaluation_copy(
    meta: Any, net: InferenceGraph, parameters: MetaGraphParameters
) -> InferenceGraph | None:
    """Returns another copy of the net that needs no switching; None if there is none.

    It ends in the same op, depends on the same trainable variables, and takes one input of the
    same type and shape. A net that was not in training mode itself needs none.
    """
    switched = net.batch_norms or net.dropouts
    if not parameters.compare_twin or not switched or len(net.cut) > 1 or len(net.outputs) > 1:
        return None
    definition = type(meta.graph_def)()
    definition.CopyFrom(meta.graph_def)
    graph = NodeGraph(definition)
    heads = find_heads(graph, trainable_names(meta))
    own = next((head for head in heads if head.port == net.outputs[0]), None)
    if own is None:
        return None
    for head in heads:
        if head.trains or head.port == own.port or head.variables != own.variables:
            continue
        if graph.op(head.port) != graph.op(own.port):
            continue
        alone = parameters.model_copy(
            update={"inputs": (), "outputs": (head.port.tensor_name,), "shapes": {}}
        )
        names = DefaultNames(net.input_names[0], net.output_names[0])
        try:
            evaluation_copy = convert_to_inference(meta, alone, names)
        except errors.PbserveError:
            # What cannot be converted by itself is no measure for the other.
            continue
        # One that had to be switched itself is another training tower, and no measure.
        switched_too = evaluation_copy.batch_norms or evaluation_copy.dropouts
        if not switched_too and _takes_the_same(evaluation_copy, net):
            return evaluation_copy
    return None


def _takes_the_same(evaluation_copy: InferenceGraph, net: InferenceGraph) -> bool:
    left, right = evaluation_copy.cut[0], net.cut[0]
    if left.dtype != right.dtype or left.shape is None or right.shape is None:
        return False
    return left.shape[1:] == right.shape[1:] and len(left.shape) == len(right.shape)
