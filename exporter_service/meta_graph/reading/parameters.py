"""What a conversion from a `.meta` can be told. No TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exporter_service.specs.names import FROZEN_GRAPH, META_GRAPH
from service_kit import errors

# As TensorFlow writes a tensor: a node's path, and perhaps the number of its output.
_TENSOR = r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*(?::\d{1,5})?"
# Perhaps with an alias before it.
TENSOR_NAME = rf"^(?:[A-Za-z][A-Za-z0-9_]*=)?{_TENSOR}$"
TensorName = Annotated[str, Field(pattern=TENSOR_NAME)]
_Parameters = TypeVar("_Parameters", bound=BaseModel)


class FrozenGraphParameters(BaseModel):
    """Parameters of a frozen graph that is adopted; each name may be `x`, `x:0` or `alias=x:0`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    shapes: dict[str, Annotated[tuple[int, ...], Field(strict=False)]] = Field(
        default_factory=dict,
        description="Input name -> its dimensions, batch first, -1 for any; for inputs whose "
        "shape the graph does not know.",
    )
    bindings: dict[str, bool | int | float | str] = Field(
        default_factory=dict,
        description="Placeholder or variable -> value for good: a training phase, a "
        "keep probability.",
    )
    keep_dropout: bool = Field(
        False,
        description="Leave dropouts as they are: answers are random, and requests share no batch.",
    )


class MetaGraphParameters(FrozenGraphParameters):
    """Parameters of `META_GRAPH`; each name may be `x`, `x:0` or `alias=x:0`."""

    inputs: tuple[TensorName, ...] = Field(
        (),
        max_length=64,
        strict=False,
        description="Tensors that become placeholders, each as NAME, NAME:PORT or "
        "ALIAS=NAME:PORT; empty: the one obvious iterator port, dequeue or placeholder.",
    )
    outputs: tuple[TensorName, ...] = Field(
        (),
        max_length=64,
        strict=False,
        description="Tensors to answer with, written as the inputs are; empty: the one obvious "
        "softmax, sigmoid or logits.",
    )
    keep_batch_statistics: bool = Field(
        False,
        description="Leave batch norms that normalise by the batch as they are.",
    )
    initial_state: bool = Field(
        False,
        description="Begin every request with the initializer's value of each variable that "
        "carries state from one call to the next.",
    )
    keep_stored: tuple[TensorName, ...] = Field(
        (),
        max_length=64,
        strict=False,
        description="Variables that carry state, whose value in the checkpoint is to be taken "
        "all the same.",
    )
    compare_twin: bool = Field(
        True,
        description="Compare with an evaluation copy of the net in the same graph, if there is "
        "one.",
    )


def parse_parameters(parameters: Mapping[str, Any]) -> MetaGraphParameters:
    """Returns validated parameters of a `.meta`, defaults filled in.

    Raises:
        InvalidParameters: says which, what was given and what is allowed.
    """
    return _parsed(MetaGraphParameters, META_GRAPH, parameters)


def parse_frozen_parameters(parameters: Mapping[str, Any]) -> FrozenGraphParameters:
    """Returns validated parameters of a frozen graph, defaults filled in.

    Raises:
        InvalidParameters: says which, what was given and what is allowed.
    """
    return _parsed(FrozenGraphParameters, FROZEN_GRAPH, parameters)


def _parsed(kind: type[_Parameters], name: str, parameters: Mapping[str, Any]) -> _Parameters:
    try:
        return kind.model_validate(dict(parameters))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, detail['loc'])) or 'parameters'}: {detail['msg']}"
            for detail in error.errors()
        )
        accepted = ", ".join(sorted(kind.model_fields))
        raise errors.InvalidParameters(f"{name}: {problems}; it takes {accepted}") from error
