"""Ops that an artifact may run here: those that compute from their inputs alone.

An artifact is somebody's program. What is not on the list is refused by name: files, network,
Python, debuggers, libraries that somebody has loaded.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

from tensorflow.python.framework import op_def_registry

from service_kit import errors

# TensorFlow's own division of its ops: a module for each file in which ops are registered.
_MODULES = (
    "array_ops",
    "audio_ops",
    "bitwise_ops",
    "candidate_sampling_ops",
    "control_flow_ops",
    "ctc_ops",
    "functional_ops",
    "image_ops",
    "linalg_ops",
    "list_ops",
    "manip_ops",
    "math_ops",
    "nn_ops",
    "parsing_ops",
    "ragged_array_ops",
    "ragged_conversion_ops",
    "ragged_math_ops",
    "random_ops",
    "rnn_ops",
    "set_ops",
    "sparse_ops",
    "special_math_ops",
    "spectral_ops",
    "stateless_random_ops",
    "stateless_random_ops_v2",
    "string_ops",
)
# In these modules, and not for an artifact: memory by a file's name, the process's end, other
# machines, words from a file, and what keeps a tensor of each run.
_REFUSED = frozenset(
    [
        "Abort",
        "AddManySparseToTensorsMap",
        "AddSparseToTensorsMap",
        "FixedUnigramCandidateSampler",
        "ImmutableConst",
        "RemoteCall",
        "TakeManySparseFromTensorsMap",
    ]
)
# Of other modules: what loops of TensorFlow 1 are made of, what says that something is wrong, and
# what TensorFlow's own optimizers have made of several ops, which has no module at all.
_OTHERS = re.compile(
    r"TensorArray.*|Stack(V2|Push|PushV2|Pop|PopV2|Close|CloseV2)?|(Parallel)?DynamicStitch"
    r"|DynamicPartition|AccumulateNV2|Assert|Print|_Fused(Conv2D|MatMul|BatchNormEx|"
    r"DepthwiseConv2dNative)"
)


def check_ops(graph: Any, widened: Collection[str]) -> None:
    """Checks every op of a `GraphDef`, functions included.

    Args:
        graph: to be imported.
        widened: ops that the operator allows besides.

    Raises:
        GraphRefused: names the first ops that are not allowed.
    """
    refused: dict[str, str] = {}
    for op, place in _ops(graph):
        if op not in widened and not _computes(op):
            refused.setdefault(op, place)
    if refused:
        found = ", ".join(f"{op} ({place})" for op, place in list(refused.items())[:5])
        raise errors.GraphRefused(
            f"the graph has ops that may reach out of it: {found}; convert it without them, or, if "
            "you trust it, start the server with --allow-op and their names"
        )


def _ops(graph: Any) -> Iterator[tuple[str, str]]:
    for node in graph.node:
        yield from _of_node(node, f"node {node.name}")
    for function in graph.library.function:
        name = function.signature.name
        yield from _called(function.attr, f"function {name}")
        for node in function.node_def:
            yield from _of_node(node, f"node {node.name} of function {name}")
    for gradient in graph.library.gradient:
        yield gradient.gradient_func, f"the gradient of {gradient.function_name}"


def _of_node(node: Any, place: str) -> Iterator[tuple[str, str]]:
    yield node.op, place
    yield from _called(node.attr, place)


def _called(attributes: Any, place: str) -> Iterator[tuple[str, str]]:
    # TensorFlow runs an op whose name stands where a branch or a body should be a function.
    for value in attributes.values():
        for one in (*([value.func] if value.HasField("func") else ()), *value.list.func):
            yield one.name, place
            yield from _called(one.attr, place)


def _computes(op: str) -> bool:
    if (op in _listed() and op not in _REFUSED) or _OTHERS.fullmatch(op):
        return True
    # The name of a function of the graph, or of nothing, which TensorFlow itself refuses.
    return op_def_registry.get(op) is None


@cache
def _listed() -> frozenset[str]:
    found: set[str] = set()
    for name in _MODULES:
        module = importlib.import_module(f"tensorflow.python.ops.gen_{name}")
        # An op stands in its module by its own name, in CamelCase.
        found |= {word for word in vars(module) if word[:1].isupper()}
    return frozenset(op for op in found if op_def_registry.get(op) is not None)
