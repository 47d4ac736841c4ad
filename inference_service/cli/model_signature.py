"""What a caller has to know of a model before it sends images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inference_service.client.results import Model
from inference_service.client.results import Version as VersionState
from inference_service.prediction.top_classes import scored_output
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec


@dataclass(frozen=True, slots=True)
class ModelSignature:
    """Input and outputs of a version; `ranked` is the output whose classes have ranks, or ""."""

    inputs: Sequence[TensorSpec]
    output_names: Sequence[str]
    ranked: str

    @property
    def input_name(self) -> str:
        """Name of the only input."""
        return self.inputs[0].name


def signature_of(model: Model, version: int, label: str) -> ModelSignature:
    """Returns the signature of the version that a request with these two would get.

    Raises:
        VersionNotFound, LabelNotFound: there is none.
        ModelUnavailable: it is not served at the moment.
        InvalidRequest: it takes several inputs.
    """
    found = _version(model, version, label)
    if not found.cards:
        reason = f": {found.reason}" if found.reason else ""
        raise errors.ModelUnavailable(
            f"model {model.name} version {found.version} is {found.state}{reason}"
        )
    card = found.cards[0]
    if len(card.inputs) != 1:
        names = ", ".join(spec.name for spec in card.inputs)
        raise errors.InvalidRequest(
            f"model {model.name} takes several inputs ({names}): ask it from Python"
        )
    return ModelSignature(card.inputs, [spec.name for spec in card.outputs], _ranked(card.outputs))


def _version(model: Model, version: int, label: str) -> VersionState:
    if label and not version:
        if label not in model.labels:
            there = ", ".join(sorted(model.labels)) or "none"
            raise errors.LabelNotFound(f"model {model.name} has no label {label!r}; it has {there}")
        version = model.labels[label]
    version = version or model.default_version
    for one in model.versions:
        if one.version == version or (not version and not one.cards):
            return one
    there = ", ".join(str(one.version) for one in model.versions) or "none"
    raise errors.VersionNotFound(f"model {model.name} has no version {version}; it has {there}")


def _ranked(outputs: Sequence[TensorSpec]) -> str:
    try:
        return scored_output(outputs)
    except errors.InvalidRequest:
        return ""
