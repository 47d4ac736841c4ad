"""What a checkpoint holds, as values: they cross from the conversion's process to the server.

No TensorFlow in here, or unpickling an answer would load it into the server.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from exporter_service.checkpoints.graph_contents import MetaGraphContents
from exporter_service.checkpoints.moving_average import shadowed_key
from service_kit.artifacts.manifest import ArchitectureSpec, CheckpointOrigin

# What optimizers and training loops of TensorFlow 1 keep beside the model.
_SLOTS = (
    "/Adam", "/Adam_1", "/Momentum", "/RMSProp", "/RMSProp_1", "/RMSProp_2", "/Adagrad",
    "/Adadelta", "/Adadelta_1", "/Ftrl", "/Ftrl_1", "/AdaMax", "/AdaMax_1", "/Nadam", "/Nadam_1",
)  # fmt: skip
_COUNTERS = ("beta1_power", "beta2_power", "global_step")
# What tf.train.Checkpoint and Keras write.
_ATTRIBUTE = "/.ATTRIBUTES/VARIABLE_VALUE"
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


# Bytes an element; of other types, strings above all, the size is not in the shape.
_ITEM_BYTES = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8,
    "uint64": 8, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8,
    "complex128": 16,
}  # fmt: skip


def is_shadow(key: str) -> bool:
    """Whether the key holds a moving average; also if it is a tensor name, `...:0`."""
    return shadowed_key(key) is not None


def is_training_state(key: str) -> bool:
    """Whether the key is an optimizer slot or a counter, by TensorFlow 1's naming.

    Also if it is a tensor name, `w/Adam:0`.
    """
    name = key.removesuffix(":0")
    return name.endswith(_SLOTS) or name.rsplit("/", 1)[-1] in _COUNTERS


def is_object_based(keys: Iterable[str]) -> bool:
    """Whether the keys are those of TensorFlow 2's checkpoints, which hold objects, not names."""
    return any(key.endswith(_ATTRIBUTE) or key == _OBJECT_GRAPH for key in keys)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Shape and NumPy dtype name of one checkpoint key."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class CheckpointContents:
    """A checkpoint's tensors by key, the architectures that they fit, and its training graph.

    `meta_graph_problem` says why a `.meta` could not be read; empty when it could, or is not
    there.
    """

    checkpoint: CheckpointOrigin
    shard_count: int
    tensors: Mapping[str, StoredTensor]
    fitting: tuple[ArchitectureSpec, ...]
    meta_graph: MetaGraphContents | None = None
    meta_graph_problem: str = ""

    @property
    def parameter_count(self) -> int:
        """Elements of model variables: neither slots nor shadows nor counters."""
        return sum(math.prod(tensor.shape) for tensor in self._parameters())

    @property
    def parameter_bytes(self) -> Mapping[str, int]:
        """Bytes of model variables by dtype, in the order of its names.

        Only of dtypes whose elements all have the same size: strings are left out.
        """
        sizes = Counter[str]()
        for tensor in self._parameters():
            if tensor.dtype in _ITEM_BYTES:
                sizes[tensor.dtype] += math.prod(tensor.shape) * _ITEM_BYTES[tensor.dtype]
        return dict(sorted(sizes.items()))

    @property
    def optimizer_slot_count(self) -> int:
        """Keys that are optimizer slots or counters."""
        return sum(is_training_state(key) for key in self.tensors)

    @property
    def shadow_count(self) -> int:
        """Variables that have a moving average."""
        return sum(is_shadow(key) for key in self.tensors)

    def _parameters(self) -> Iterator[StoredTensor]:
        return (
            tensor
            for key, tensor in self.tensors.items()
            if not is_shadow(key) and not is_training_state(key)
        )
