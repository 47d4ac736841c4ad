"""What a checkpoint holds, as values: they cross from the conversion's process to the server.

No TensorFlow in here, or unpickling an answer would load it into the server.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from exporter_service.moving_average import SHADOW_SUFFIX
from service_kit.manifest import ArchitectureSpec, CheckpointOrigin

# What optimizers and training loops of TensorFlow 1 keep beside the model.
_SLOTS = (
    "/Adam", "/Adam_1", "/Momentum", "/RMSProp", "/RMSProp_1", "/RMSProp_2", "/Adagrad",
    "/Adadelta", "/Adadelta_1", "/Ftrl", "/Ftrl_1", "/AdaMax", "/AdaMax_1", "/Nadam", "/Nadam_1",
)  # fmt: skip
_COUNTERS = ("beta1_power", "beta2_power", "global_step")


def is_shadow(key: str) -> bool:
    """Whether the key holds a moving average."""
    return key.endswith(SHADOW_SUFFIX)


def is_training_state(key: str) -> bool:
    """Whether the key is an optimizer slot or a counter, by TensorFlow 1's naming."""
    return key.endswith(_SLOTS) or key.rsplit("/", 1)[-1] in _COUNTERS


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Shape and NumPy dtype name of one checkpoint key."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class CheckpointContents:
    """A checkpoint's tensors by key, and the architectures that they fit."""

    checkpoint: CheckpointOrigin
    shard_count: int
    tensors: Mapping[str, StoredTensor]
    fitting: tuple[ArchitectureSpec, ...]

    @property
    def parameter_count(self) -> int:
        """Elements of model variables: neither slots nor shadows nor counters."""
        return sum(
            math.prod(tensor.shape)
            for key, tensor in self.tensors.items()
            if not is_shadow(key) and not is_training_state(key)
        )

    @property
    def optimizer_slot_count(self) -> int:
        """Keys that are optimizer slots or counters."""
        return sum(is_training_state(key) for key in self.tensors)

    @property
    def shadow_count(self) -> int:
        """Variables that have a moving average."""
        return sum(is_shadow(key) for key in self.tensors)
