"""Decides which checkpoint key restores which variable. Values in, values out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from exporter_service.checkpoints.key_list import counted
from service_kit import errors
from service_kit.artifacts.manifest import MovingAverageMode, MovingAverageReport

# The slot name of tf.train.ExponentialMovingAverage.
SHADOW_SUFFIX = "/ExponentialMovingAverage"

# Why a variable's own value was taken, in the words of the report.
STATISTIC = "a moving statistic of batch norm, kept without a shadow"
_OFF = "moving averages are off"
_ABSENT = "the checkpoint has no shadow of it"


@dataclass(frozen=True, slots=True)
class VariableKeys:
    """Where a checkpoint may hold a variable.

    Attributes:
        own: the key of the variable itself.
        shadow: the key of its moving average; None: it has none.
        trainable: whether training changes it by gradient.
        kind: what it is otherwise, in the words of the report.
    """

    own: str
    shadow: str | None
    trainable: bool
    kind: str = STATISTIC


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """Variable name -> checkpoint key, how the choice was made, and what looks wrong in it."""

    key_of: Mapping[str, str]
    report: MovingAverageReport
    warnings: tuple[str, ...] = ()


def shadowed_key(key: str) -> str | None:
    """Returns the key whose moving average this key holds; None: it holds something else.

    Keys that are tensor names keep their output: `w/ExponentialMovingAverage:0` is of `w:0`.
    """
    output = ":0" if key.endswith(":0") else ""
    name = key.removesuffix(output)
    owner = name.removesuffix(SHADOW_SUFFIX)
    return owner + output if owner and owner != name else None


def named_keys(trainable: Mapping[str, bool]) -> dict[str, VariableKeys]:
    """Returns the keys that TensorFlow 1 gives to variables of these names.

    Args:
        trainable: every variable, and whether training changes it by gradient.
    """
    return {
        name: VariableKeys(name, name + SHADOW_SUFFIX, is_trainable)
        for name, is_trainable in trainable.items()
    }


def plan_restore(
    trainable: Mapping[str, bool], keys: Collection[str], mode: MovingAverageMode
) -> RestorePlan:
    """Chooses a key for every variable, by TensorFlow 1's naming; see `plan_keys`.

    Args:
        trainable: every variable of the model, and whether training changes it by gradient.
        keys: the checkpoint's keys.
        mode: as for `plan_keys`.

    Raises:
        MovingAverageMissing: REQUIRED, and the named variables have no shadow.
    """
    return plan_keys(named_keys(trainable), keys, mode)


def plan_keys(
    variables: Mapping[str, VariableKeys], keys: Collection[str], mode: MovingAverageMode
) -> RestorePlan:
    """Chooses one of its two keys for every variable.

    Args:
        variables: every variable of the model by name, and where it may be.
        keys: the checkpoint's keys.
        mode: AUTO takes a shadow where there is one, whatever the variable, and warns if some
            trainable variables have one and others do not; REQUIRED insists on one for every
            trainable variable; OFF takes none.

    Raises:
        MovingAverageMissing: REQUIRED, and the named variables have no shadow.
    """
    without = [
        name
        for name, where in variables.items()
        if where.trainable and (where.shadow is None or where.shadow not in keys)
    ]
    count = sum(where.trainable for where in variables.values())
    if without and mode is MovingAverageMode.REQUIRED:
        raise errors.MovingAverageMissing(
            f"moving averages are required, and of {count} trainable variables "
            f"these have no {SHADOW_SUFFIX[1:]} in the checkpoint: {counted(without)}; "
            "use moving average auto or off to restore their own values"
        )
    key_of, reasons = {}, Counter[str]()
    for name, where in variables.items():
        if mode is MovingAverageMode.OFF:
            key_of[name] = where.own
            reasons[_OFF] += 1
        elif where.shadow is not None and where.shadow in keys:
            key_of[name] = where.shadow
        else:
            key_of[name] = where.own
            reasons[_ABSENT if where.trainable else where.kind] += 1
    own = sum(reasons.values())
    report = MovingAverageReport(mode, len(key_of) - own, own, dict(sorted(reasons.items())))
    partly = mode is MovingAverageMode.AUTO and 0 < len(without) < count
    return RestorePlan(key_of, report, (_mixed_values_warning(without, count),) if partly else ())


def _mixed_values_warning(without: Sequence[str], count: int) -> str:
    return (
        f"averaged and other values are mixed: of {count} trainable variables these have no "
        f"{SHADOW_SUFFIX[1:]} in the checkpoint and keep their own values: {counted(without)}; "
        "use moving average required to refuse that, or off to take no averages"
    )
