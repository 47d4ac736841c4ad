"""What the form's list of models offers, and what comes back from it. Values in, values out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from inference_service.status_page.report import ModelReport
from service_kit import errors

_CHOICE = re.compile(r"(?P<model>\S+)(?: version (?P<version>[0-9]{1,18})| label (?P<label>\S+))?")


@dataclass(frozen=True, slots=True)
class Target:
    """A model, and at most one of version (0: none given) and label."""

    model: str
    version: int = 0
    label: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """An entry of the list: what the form sends, what it reads as, and how many cards it has."""

    value: str
    text: str
    cards: int


def choices(model: ModelReport) -> tuple[Choice, ...]:
    """Returns what may be asked of a model: its default, its labels, its served versions."""
    cards = {v.version: len(v.cards) for v in model.versions if v.state == "AVAILABLE"}
    if not cards:
        return ()
    default = model.default_version
    return (
        Choice(model.name, f"default (version {default})", cards.get(default, 0)),
        *(
            Choice(f"{model.name} label {label}", f"label {label} (version {at})", cards[at])
            for label, at in sorted(model.labels.items())
            if at in cards
        ),
        *(
            Choice(f"{model.name} version {version}", f"version {version}", count)
            for version, count in sorted(cards.items())
        ),
    )


def max_cards(models: Sequence[ModelReport]) -> int:
    """Returns how many cards the version with the most of them has."""
    return max((one.cards for model in models for one in choices(model)), default=0)


def parse_target(text: str) -> Target:
    """Returns what a choice's value names.

    Raises:
        InvalidRequest: it is none.
    """
    found = _CHOICE.fullmatch(text)
    if found is None:
        raise errors.InvalidRequest(
            f"model is {text!r}: choose one of the list, or write NAME, NAME version N or NAME "
            "label L"
        )
    return Target(found["model"], int(found["version"] or 0), found["label"] or "")
