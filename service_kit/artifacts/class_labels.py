"""Names of a model's classes, and the output that they are for."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from service_kit.artifacts.manifest import Tower

# The output that labels are for where there are several.
LABELLED_OUTPUT = "probs"
LONGEST_LABEL = 200
# Control characters, and what breaks a line or a paragraph.
_STEERING = frozenset(["Cc", "Zl", "Zp"])


def problem_of_label(label: str) -> str | None:
    """Returns what is wrong with a label by itself; None if nothing."""
    if len(label) > LONGEST_LABEL:
        return f"is {len(label)} characters long: at most {LONGEST_LABEL} are possible"
    if any(unicodedata.category(c) in _STEERING for c in label):
        return f"has control characters: {label!r}"
    if not label.strip():
        return "is blank: every class needs a name"
    return None


def problem_of_labels(labels: Sequence[str], towers: Sequence[Tower]) -> str | None:
    """Returns why labels cannot be those of some towers' classes; None if they can, or are none.

    Two classes may have one name, as two of ImageNet's have. An output whose last dimension has
    any size takes any number of labels.
    """
    if not labels:
        return None
    for index, label in enumerate(labels):
        problem = problem_of_label(label)
        if problem:
            return f"class label {index} {problem}"
    return next(filter(None, (_problem_of_fit(len(labels), tower) for tower in towers)), None)


def problem_of_count(count: int, classes: int, whose: str) -> str | None:
    """Returns what is wrong with a number of labels for what has so many classes (-1: any)."""
    if classes in (-1, count):
        return None
    return f"there are {count} class labels, and {whose} has {classes} classes"


def labels_by_output(labels: Sequence[str], tower: Tower) -> dict[str, Sequence[str]]:
    """Returns the output's name that labels are for, with the labels; empty: there are none."""
    names = [spec.name for spec in tower.outputs]
    candidates = [LABELLED_OUTPUT] if LABELLED_OUTPUT in names else names
    return {candidates[0]: labels} if labels and len(candidates) == 1 else {}


def _problem_of_fit(count: int, tower: Tower) -> str | None:
    named = [spec for spec in tower.outputs if spec.name == LABELLED_OUTPUT]
    candidates = named or tower.outputs
    if len(candidates) != 1:
        names = ", ".join(spec.name for spec in tower.outputs)
        return (
            f"there are class labels, and several outputs ({names}) of which none is called "
            f"{LABELLED_OUTPUT}"
        )
    (output,) = candidates
    if len(output.shape) < 2:
        return (
            f"there are class labels, and the output {output.name} of shape {list(output.shape)} "
            "has no dimension for classes"
        )
    return problem_of_count(count, output.shape[-1], f"the output {output.name}")
