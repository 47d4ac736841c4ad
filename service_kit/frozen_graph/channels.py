"""Where layers have their channels. Not every processor has kernels for channels first."""

from __future__ import annotations

from typing import Any

# Their `data_format` says it.
_LAYERS = frozenset(
    ["AvgPool", "AvgPool3D", "BiasAdd", "Conv2D", "Conv2DBackpropInput", "Conv3D",
     "DepthwiseConv2dNative", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "MaxPool",
     "MaxPool3D"]
)  # fmt: skip


def has_channels_first(graph: Any) -> bool:
    """Whether a layer of a `tf.Graph` has its channels before the other dimensions."""
    return any(
        operation.get_attr("data_format").startswith(b"NC")
        for operation in graph.get_operations()
        if operation.type in _LAYERS
    )
