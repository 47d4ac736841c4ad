"""Which checkpoint key restores which variable of a training graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np

from exporter_service.architectures.checkpoint_match import mismatch
from exporter_service.checkpoints.contents import StoredTensor
from exporter_service.checkpoints.key_list import counted
from exporter_service.checkpoints.moving_average import (
    SHADOW_SUFFIX,
    STATISTIC,
    RestorePlan,
    VariableKeys,
    plan_keys,
)
from exporter_service.meta_graph.detection.fused_norm import normalising_variables
from exporter_service.meta_graph.detection.variable_state import Role
from exporter_service.meta_graph.reading.node_graph import NodeGraph
from exporter_service.meta_graph.reading.op_defs import dtype_name
from exporter_service.meta_graph.reading.saver_keys import SavedAs, saver_keys
from exporter_service.meta_graph.reading.variables import (
    REFERENCE,
    RESOURCE,
    GraphVariable,
    graph_variable,
    trainable_names,
)
from exporter_service.meta_graph.rewriting.inference_graph import InferenceGraph
from exporter_service.specs.conversion import ConversionSpec

_OUTPUT = ":0"


@dataclass(frozen=True, slots=True)
class Restoring:
    """Where each variable's value comes from.

    Attributes:
        plan: variable -> key.
        shapes: variable -> dimensions, for those whose node does not state them.
        saved: variable -> the part of its key's tensor, for partitioned variables.
    """

    plan: RestorePlan
    shapes: Mapping[str, tuple[int, ...]]
    saved: Mapping[str, SavedAs]

    def part_of(self, variable: str, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Returns a variable's value, given that of its key."""
        saved = self.saved.get(variable)
        return saved.of(value) if saved is not None else value


def plan_variables(
    net: InferenceGraph, meta: Any, tensors: Mapping[str, StoredTensor], spec: ConversionSpec
) -> Restoring:
    """Chooses a key for every variable that the outputs need.

    The graph's own saver says under which key it wrote a variable. Without one, or when the
    checkpoint has no such key, the variable's name is the key, perhaps with `:0`.

    Raises:
        CheckpointMismatch: variables have no key, or one of another shape or type.
        MovingAverageMissing: required averages are absent.
    """
    saved = saver_keys(NodeGraph(meta.graph_def), meta.saver_def.save_tensor_name)
    trainable = trainable_names(meta)
    variables = {
        name: graph_variable(net.graph, name)
        for name in sorted(net.graph.of_op(*REFERENCE, *RESOURCE))
    }
    normalising = normalising_variables(net.graph)
    keys = {
        name: VariableKeys(
            own=_own_key(name, saved, tensors),
            shadow=_shadow_key(name, net.averages_of.get(name, ()), saved, tensors),
            trainable=_is_trained(variable, trainable, net.roles),
            kind=_kind_of(name, net, normalising),
        )
        for name, variable in variables.items()
    }
    plan = plan_keys(keys, tensors.keys(), spec.moving_average)
    parts = {name: one for name, one in saved.items() if one.part}
    _check(variables, plan, tensors, parts, spec)
    return Restoring(
        plan=plan,
        shapes={
            name: tensors[plan.key_of[name]].shape
            for name, variable in variables.items()
            if variable.shape is None
        },
        saved=parts,
    )


def _is_trained(
    variable: GraphVariable, trainable: AbstractSet[str], roles: Mapping[str, str]
) -> bool:
    if roles.get(variable.name) == Role.TRAINED.value:
        return True
    return variable.name in trainable if trainable else variable.dtype_is_float


def _kind_of(name: str, net: InferenceGraph, normalising: AbstractSet[str]) -> str:
    """Returns what a variable is that no shadow is looked for, in the report's words."""
    if name in net.kept_stored:
        return "state, kept as stored on the user's word"
    if name in net.statistics or name in normalising:
        return STATISTIC
    return net.roles.get(name, "nothing in the graph assigns it")


def _own_key(name: str, saved: Mapping[str, SavedAs], tensors: Mapping[str, StoredTensor]) -> str:
    written = saved[name].key if name in saved else name
    return next((key for key in (written, name, name + _OUTPUT) if key in tensors), written)


def _shadow_key(
    name: str,
    averages: Sequence[str],
    saved: Mapping[str, SavedAs],
    tensors: Mapping[str, StoredTensor],
) -> str | None:
    """Returns the key of a variable's moving average.

    By TensorFlow's naming first; else the average that the graph computes, if it is a slot of
    the variable: other nets that follow a variable, as target networks do, are no shadows.
    """
    candidates = [name + SHADOW_SUFFIX, name + SHADOW_SUFFIX + _OUTPUT]
    for average in (one for one in averages if _is_slot(one, name)):
        written = saved[average].key if average in saved else average
        # The standard name stays first, wherever the saver put it.
        place = 0 if average.endswith(SHADOW_SUFFIX) else len(candidates)
        candidates[place:place] = [written, average, average + _OUTPUT]
    return next((key for key in candidates if key in tensors), None)


def _is_slot(average: str, name: str) -> bool:
    """Whether a variable is named after another one, as TensorFlow names slots."""
    return f"/{name}/" in f"/{average}"


def followers(net: InferenceGraph) -> list[str]:
    """Returns a warning about averages of the weights that are not taken for their names."""
    others = [
        f"{average} of {name}"
        for name, averages in sorted(net.averages_of.items())
        for average in averages
        if name in net.graph.nodes and not _is_slot(average, name)
    ]
    if not others:
        return []
    warning = (
        f"the graph keeps averages that are not named as slots and were not taken: "
        f"{counted(others)}; use key_map if the outputs should come from them"
    )
    return [warning]


def _check(
    variables: Mapping[str, GraphVariable],
    plan: RestorePlan,
    tensors: Mapping[str, StoredTensor],
    parts: Mapping[str, SavedAs],
    spec: ConversionSpec,
) -> None:
    missing, misshapen = [], []
    for name, variable in variables.items():
        key = plan.key_of[name]
        found = tensors.get(key)
        if found is None:
            missing.append(name if key == name else f"{name} (saved as {key})")
            continue
        if variable.shape is not None and name not in parts and found.shape != variable.shape:
            misshapen.append(f"{key} is {list(found.shape)}, needs {list(variable.shape)}")
        if _kind(found.dtype) != _kind(dtype_name(variable.dtype)):
            misshapen.append(f"{key} holds {found.dtype}, needs {dtype_name(variable.dtype)}")
    if missing or misshapen:
        raise mismatch(
            f"{spec.checkpoint.prefix.name} lacks what its graph needs: missing "
            f"{counted(missing)}; misshapen {counted(misshapen)}",
            {name: one.shape for name, one in variables.items() if one.shape is not None},
            tensors,
            spec.key_map,
        )


def _kind(dtype: str) -> str:
    if dtype == "bfloat16":
        return "f"
    try:
        return np.dtype(dtype).kind
    except TypeError:
        return dtype
