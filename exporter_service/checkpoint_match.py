"""Compares the variables of an architecture with the keys of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exporter_service.architectures.architecture import Variable
from exporter_service.architectures.registry import fitting_architectures
from exporter_service.checkpoint_contents import StoredTensor, is_shadow, is_training_state
from exporter_service.key_list import counted
from exporter_service.moving_average import SHADOW_SUFFIX
from service_kit import errors
from service_kit.manifest import ArchitectureSpec, MovingAverageMode

# What a float32 variable may be restored from.
_FLOATS = frozenset(["float16", "bfloat16", "float32", "float64"])


def check_match(
    architecture: str,
    variables: Mapping[str, Variable],
    tensors: Mapping[str, StoredTensor],
    checkpoint: str,
    mode: MovingAverageMode,
) -> None:
    """Checks that every variable has a key in the checkpoint, of its shape and of floats.

    The key is the one that `moving_average` will choose. Keys that no variable needs do not
    matter as such; they are named to explain a mismatch.

    Raises:
        CheckpointMismatch: lists missing, extra and misshapen keys and what would fit.
    """
    missing: list[str] = []
    misshapen: list[str] = []
    for name, variable in variables.items():
        shadow = name + SHADOW_SUFFIX
        key = shadow if mode is not MovingAverageMode.OFF and shadow in tensors else name
        if key not in tensors:
            missing.append(f"{name} (it has {shadow})" if shadow in tensors else name)
            continue
        found = tensors[key]
        if found.shape != variable.shape:
            misshapen.append(f"{key} is {list(found.shape)}, needs {list(variable.shape)}")
        elif found.dtype not in _FLOATS:
            misshapen.append(f"{key} holds {found.dtype}, needs floats")
    if not missing and not misshapen:
        return
    extra = [
        key
        for key in tensors
        if key not in variables and not is_shadow(key) and not is_training_state(key)
    ]
    shapes = {key: tensor.shape for key, tensor in tensors.items()}
    raise errors.CheckpointMismatch(
        f"{checkpoint} is not a checkpoint of this {architecture} "
        f"({len(variables)} variables): "
        f"missing {counted(missing)}; extra {counted(extra)}; misshapen {counted(misshapen)}"
        + _advice(fitting_architectures(shapes))
    )


def _advice(fitting: Sequence[ArchitectureSpec]) -> str:
    if not fitting:
        return ". None of the known architectures fits its keys"
    described = " or ".join(
        " ".join((spec.name, *(f"{key}={value}" for key, value in spec.parameters.items())))
        for spec in fitting
    )
    return f". Its keys fit {described}"
