"""Decides which checkpoint key restores which variable. Values in, values out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from exporter_service.key_list import counted
from service_kit import errors
from service_kit.manifest import MovingAverageMode, MovingAverageReport

# The slot name of tf.train.ExponentialMovingAverage.
SHADOW_SUFFIX = "/ExponentialMovingAverage"

_OFF = "moving averages are off"
_STATISTIC = "a moving statistic of batch norm, kept without a shadow"
_ABSENT = "the checkpoint has no shadow of it"


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """Variable name -> checkpoint key, and how the choice was made."""

    key_of: Mapping[str, str]
    report: MovingAverageReport


def plan_restore(
    trainable: Mapping[str, bool], keys: Collection[str], mode: MovingAverageMode
) -> RestorePlan:
    """Chooses a key for every variable.

    Args:
        trainable: every variable of the model, and whether training changes it by gradient.
        keys: the checkpoint's keys.
        mode: AUTO takes a shadow where there is one, whatever the variable; REQUIRED also
            insists on one for every trainable variable; OFF takes none.

    Raises:
        MovingAverageMissing: REQUIRED, and the named variables have no shadow.
    """
    if mode is MovingAverageMode.REQUIRED:
        _check_all_have_shadows(trainable, keys)
    key_of, reasons = {}, Counter[str]()
    for name, is_trainable in trainable.items():
        shadow = name + SHADOW_SUFFIX
        if mode is not MovingAverageMode.OFF and shadow in keys:
            key_of[name] = shadow
            continue
        key_of[name] = name
        if mode is MovingAverageMode.OFF:
            reasons[_OFF] += 1
        else:
            reasons[_ABSENT if is_trainable else _STATISTIC] += 1
    own = sum(reasons.values())
    return RestorePlan(
        key_of, MovingAverageReport(mode, len(key_of) - own, own, dict(sorted(reasons.items())))
    )


def _check_all_have_shadows(trainable: Mapping[str, bool], keys: Collection[str]) -> None:
    without = [
        name
        for name, is_trainable in trainable.items()
        if is_trainable and name + SHADOW_SUFFIX not in keys
    ]
    if without:
        raise errors.MovingAverageMissing(
            f"moving averages are required, and of {sum(trainable.values())} trainable variables "
            f"these have no {SHADOW_SUFFIX[1:]} in the checkpoint: {counted(without)}; "
            "use moving average auto or off to restore their own values"
        )
