"""Compares the variables of an architecture with the keys of a checkpoint."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from exporter_service.architectures.architecture import Variable
from exporter_service.architectures.key_suggestion import suggest_rewrites
from exporter_service.architectures.registry import fitting_architectures
from exporter_service.checkpoints.contents import (
    StoredTensor,
    is_object_based,
    is_shadow,
    is_training_state,
)
from exporter_service.checkpoints.key_list import counted
from exporter_service.checkpoints.key_rewrites import KeyRewrite, rewritten
from exporter_service.checkpoints.moving_average import SHADOW_SUFFIX
from service_kit import errors
from service_kit.artifacts.manifest import ArchitectureSpec, MovingAverageMode

# Keys of each kind in a message, which has to fit a few lines of a terminal.
_SHOWN = 1
# What a float32 variable may be restored from.
_FLOATS = frozenset(["float16", "bfloat16", "float32", "float64"])


def check_match(
    architecture: str,
    variables: Mapping[str, Variable],
    tensors: Mapping[str, StoredTensor],
    checkpoint: str,
    mode: MovingAverageMode,
    rewrites: Sequence[KeyRewrite] = (),
) -> None:
    """Checks that every variable has a key in the checkpoint, of its shape and of floats.

    The key is the one that `moving_average` will choose. Keys that no variable needs do not
    matter as such; they are named to explain a mismatch.

    Args:
        architecture: what the message calls the model.
        variables: every variable of the model by name.
        tensors: the checkpoint's tensors by key, as the rewrites have left the keys.
        checkpoint: what the message calls the checkpoint.
        mode: whether moving averages are chosen where there are some.
        rewrites: those that `tensors` has been through; a suggestion repeats them.

    Raises:
        CheckpointMismatch: says what would fit, other rewrites or another architecture, and
            then counts missing, extra and misshapen keys, each with an example.
    """
    missing, misshapen = _differences(variables, tensors, mode)
    if not missing and not misshapen:
        return
    extra = [
        key
        for key in tensors
        if key not in variables and not is_shadow(key) and not is_training_state(key)
    ]
    kinds = {"missing": missing, "extra": extra, "misshapen": misshapen}
    found = "; ".join(f"{kind} {counted(keys, _SHOWN)}" for kind, keys in kinds.items() if keys)
    message = (
        f"{checkpoint} is not a checkpoint of this {architecture} ({len(variables)} variables): "
        f"{found}"
    )
    remedy = _remedy(tensors, rewrites, _suggestion(variables, tensors, mode))
    if not remedy:
        fitting = fitting_architectures({key: tensor.shape for key, tensor in tensors.items()})
        remedy = described_fits(fitting)
    raise errors.CheckpointMismatch(f"{remedy}. {message}")


def mismatch(
    message: str,
    wanted: Mapping[str, tuple[int, ...]],
    tensors: Mapping[str, StoredTensor],
    rewrites: Sequence[KeyRewrite] = (),
) -> errors.CheckpointMismatch:
    """Returns the error of a checkpoint that lacks variables, with what would help.

    Args:
        message: what is wrong, without a full stop.
        wanted: the variables that are needed, name -> shape.
        tensors: the checkpoint's tensors by key, as the rewrites have left the keys.
        rewrites: those that `tensors` has been through; a suggestion repeats them.
    """
    shapes = {key: tensor.shape for key, tensor in tensors.items()}
    suggestion = suggest_rewrites(wanted, shapes) or ()
    remedy = _remedy(tensors, rewrites, suggestion)
    return errors.CheckpointMismatch(f"{remedy}. {message}" if remedy else message)


def described_fits(fitting: Sequence[ArchitectureSpec]) -> str:
    """Returns a sentence, without a full stop, on the architectures that a checkpoint fits."""
    if not fitting:
        return "None of the known architectures fits its keys"
    described = " or ".join(
        " ".join((spec.name, *(f"{key}={value}" for key, value in spec.parameters.items())))
        for spec in fitting
    )
    return f"Its keys fit {described}"


def _differences(
    variables: Mapping[str, Variable],
    tensors: Mapping[str, StoredTensor],
    mode: MovingAverageMode,
) -> tuple[list[str], list[str]]:
    """Returns what is missing and what is misshapen, as messages have it."""
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
        elif variable.dtype in _FLOATS and found.dtype not in _FLOATS:
            misshapen.append(f"{key} holds {found.dtype}, needs floats")
        elif variable.dtype not in _FLOATS and found.dtype != variable.dtype:
            misshapen.append(f"{key} holds {found.dtype}, needs {variable.dtype}")
    return missing, misshapen


def _suggestion(
    variables: Mapping[str, Variable],
    tensors: Mapping[str, StoredTensor],
    mode: MovingAverageMode,
) -> tuple[KeyRewrite, ...]:
    """Returns rewrites with which the check would pass, if any are known."""
    rewrites = suggest_rewrites(
        {name: variable.shape for name, variable in variables.items()},
        {key: tensor.shape for key, tensor in tensors.items()},
    )
    if not rewrites:
        return ()
    keys = rewritten(tensors, rewrites)
    renamed = {name: tensors[key] for name, key in keys.items()}
    return () if any(_differences(variables, renamed, mode)) else rewrites


def _remedy(
    tensors: Mapping[str, StoredTensor],
    given: Sequence[KeyRewrite],
    suggested: Sequence[KeyRewrite],
) -> str:
    if suggested:
        options = " ".join(
            f"--key-map {shlex.quote(rewrite.text)}" for rewrite in (*given, *suggested)
        )
        return f"These keys would match with {options}"
    if is_object_based(tensors):
        return (
            "Load it where it was made and save it with tf.compat.v1.train.Saver: it is an "
            "object-based checkpoint of TensorFlow 2 (tf.train.Checkpoint or Keras), whose keys "
            "are not names of variables"
        )
    return ""
