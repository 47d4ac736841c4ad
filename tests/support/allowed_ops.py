"""Ops that compute from their inputs alone, as TensorFlow's registry has them.

`python -m tests.support.allowed_ops` writes the list that both services check graphs with; a test
compares the two. Ops that TensorFlow adds later come in with the next release that is supported.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session
from tensorflow.python.framework import op_def_registry

LIST = Path(__file__).parents[2] / "service_kit/frozen_graph/allowed_ops.txt"

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


def allowed_ops() -> list[str]:
    """Returns the names, sorted."""
    listed: set[str] = set()
    for name in _MODULES:
        module = importlib.import_module(f"tensorflow.python.ops.gen_{name}")
        # An op stands in its module by its own name, in CamelCase.
        listed |= {word for word in vars(module) if word[:1].isupper()}
    found = {op for op in listed - _REFUSED if op_def_registry.get(op) is not None}
    registered = op_def_pb2.OpList.FromString(
        pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    )
    return sorted(found | {one.name for one in registered.op if _OTHERS.fullmatch(one.name)})


if __name__ == "__main__":
    LIST.write_text("".join(f"{name}\n" for name in allowed_ops()))
