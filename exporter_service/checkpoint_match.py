"""Compares the variables of an architecture with the keys of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exporter_service.architectures.architecture import Variable
from exporter_service.architectures.registry import fitting_architectures
from exporter_service.checkpoint_contents import is_shadow, is_training_state
from exporter_service.key_list import counted
from exporter_service.moving_average import SHADOW_SUFFIX
from service_kit import errors
from service_kit.manifest import ArchitectureSpec


def check_match(
    architecture: str,
    variables: Mapping[str, Variable],
    shapes: Mapping[str, tuple[int, ...]],
    checkpoint: str,
) -> None:
    """Checks that every variable is in the checkpoint, itself or as a shadow, in its shape.

    Keys that no variable needs do not matter as such; they are named to explain a mismatch.

    Raises:
        CheckpointMismatch: lists missing, extra and misshapen keys and what would fit.
    """
    missing: list[str] = []
    misshapen: list[str] = []
    for name, variable in variables.items():
        keys = [key for key in (name, name + SHADOW_SUFFIX) if key in shapes]
        if not keys:
            missing.append(name)
        misshapen.extend(
            f"{key} is {list(shapes[key])}, needs {list(variable.shape)}"
            for key in keys
            if shapes[key] != variable.shape
        )
    if not missing and not misshapen:
        return
    extra = [
        key
        for key in shapes
        if key not in variables and not is_shadow(key) and not is_training_state(key)
    ]
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
