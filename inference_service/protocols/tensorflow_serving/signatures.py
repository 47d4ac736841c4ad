"""Signatures of a servable: `serving_default`, which takes any card, and one for each card."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from inference_service.models.servable import Servable
from inference_service.protocols.tensorflow_serving import messages
from inference_service.protocols.tensorflow_serving.tensor_codec import data_type
from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec, Tower

DEFAULT = "serving_default"
METHOD = "tensorflow/serving/predict"
_CARD = "card_"


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature's name, the card that it pins (None: any), and what it feeds and fetches."""

    name: str
    card: int | None
    tower: Tower

    @property
    def inputs(self) -> dict[str, TensorSpec]:
        """Inputs by semantic name."""
        return {spec.name: spec for spec in self.tower.inputs}

    @property
    def outputs(self) -> dict[str, TensorSpec]:
        """Outputs by semantic name."""
        return {spec.name: spec for spec in self.tower.outputs}


def signatures(servable: Servable) -> Iterator[Signature]:
    """Yields all signatures of a servable; the first card's tensors stand for all."""
    yield Signature(DEFAULT, None, servable.cards[0].spec.tower)
    for card in servable.cards:
        yield Signature(f"{_CARD}{card.index}", card.index, card.spec.tower)


def choose_signature(servable: Servable, name: str) -> Signature:
    """Returns a signature by its name; empty for `serving_default`.

    Raises:
        SignatureNotFound: there is none; names those that exist.
    """
    name = name or DEFAULT
    known = {one.name: one for one in signatures(servable)}
    if name not in known:
        raise errors.SignatureNotFound(
            f'Serving signature key "{name}" not found. Model {servable.model} version '
            f"{servable.version} has {', '.join(known)}"
        )
    return known[name]


def signature_map(servable: Servable) -> Any:
    """Returns all signatures as messages."""
    found = messages.SignatureDefMap()
    for one in signatures(servable):
        message = found.signature_def[one.name]
        message.method_name = METHOD
        for name, spec in one.inputs.items():
            _describe(spec, message.inputs[name])
        for name, spec in one.outputs.items():
            _describe(spec, message.outputs[name])
    return found


def _describe(spec: TensorSpec, message: Any) -> None:
    message.name = spec.tensor_name
    message.dtype = data_type(spec.dtype)
    for size in spec.shape:
        message.tensor_shape.dim.add().size = size
