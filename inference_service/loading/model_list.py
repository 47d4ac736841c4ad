"""A list of all models to serve, and what it may ask for. Values in, values out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from inference_service.loading.policy import LATEST_ONE, Keep
from service_kit import errors


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One model of a list.

    Attributes:
        keep: which of its versions to serve.
        labels: label -> version; all that the model is to have.
        base_path: where the store is said to have it; empty: not said.
    """

    keep: Keep = LATEST_ONE
    labels: Mapping[str, int] = field(default_factory=dict)
    base_path: str = ""


def published_versions(name: str, listed: ListedModel, published: Collection[int]) -> None:
    """Checks that the store has what a model of a list asks for.

    Raises:
        ModelNotFound, VersionNotFound: it has not; the message names what it has.
    """
    if not published:
        raise errors.ModelNotFound(f"the store has no model {name!r}")
    missing = sorted(listed.keep.versions - {*published})
    if missing:
        raise errors.VersionNotFound(
            f"the store has no version {missing[0]} of model {name}; it has "
            f"{', '.join(map(str, sorted(published)))}"
        )


def available_labels(name: str, listed: ListedModel, served: Collection[int]) -> None:
    """Checks that a model's labels point at versions that are served now.

    That is TensorFlow Serving's rule: who asks for a label never waits for a load.

    Raises:
        LabelTooEarly: one does not; names it.
    """
    for label, version in listed.labels.items():
        if version not in served:
            raise errors.LabelTooEarly(
                f"Request to assign label to version {version} of model {name}, which is not "
                f"currently available for inference: load it first, then point {label} at it"
            )
