"""One look at what a server has, and what has happened since the one before."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from inference_service.cli.options import ANSWER_SECONDS
from inference_service.client import InferenceClient
from inference_service.client.results import Model, Version
from service_kit import errors

Rates = Mapping[tuple[str, int], float]


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen.

    Attributes:
        at: seconds of a monotonic clock.
        models: all of them.
        problems: what keeps the server from being up to date.
        images_per_second: answered since the look before, by model and version; only versions
            that were there then and have not been loaded anew since.
        error: why there was no answer; then the models are those of the look before.
    """

    at: float
    models: Sequence[Model] = ()
    problems: Sequence[str] = ()
    images_per_second: Rates = field(default_factory=dict)
    error: errors.PbserveError | None = None


def look(client: InferenceClient, before: Look | None = None) -> Look:
    """Asks the server.

    Raises:
        PbserveError: it does not answer.
    """
    models = client.models(timeout=ANSWER_SECONDS)
    at = time.monotonic()
    problems = client.problems(timeout=ANSWER_SECONDS)
    return Look(at, models, problems, _rates(before, models, at) if before else {})


def _rates(before: Look, models: Sequence[Model], at: float) -> Rates:
    answered, seconds = _answered(before.models), max(at - before.at, 1e-9)
    if before.error:
        # The counts are older than the look.
        return {}
    return {
        key: (count - answered[key]) / seconds
        for key, count in _answered(models).items()
        if answered.get(key, count + 1) <= count
    }


def _answered(models: Sequence[Model]) -> dict[tuple[str, int], int]:
    return {
        (model.name, version.version): _images(version)
        for model in models
        for version in model.versions
        if version.cards
    }


def _images(version: Version) -> int:
    return sum(card.answered_images for card in version.cards)
