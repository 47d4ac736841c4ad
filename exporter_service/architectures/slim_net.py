"""What a net of tf_slim is, and its parameters. No TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class SlimParameters(BaseModel):
    """Parameters of a net whose published checkpoint has ImageNet's classes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    classes: int = Field(1000, ge=1, le=1_000_000, description="Number of classes.")


class SlimParametersWithBackground(SlimParameters):
    """Parameters of a net whose published checkpoint has a background class before those."""

    classes: int = Field(
        1001, ge=1, le=1_000_000, description="Number of classes, a background class included."
    )


@dataclass(frozen=True, slots=True)
class SlimNet:
    """A net of tf_slim.

    Attributes:
        name: of its function.
        module: which has the function, in `tf_slim.nets`.
        arg_scope: the function, in the same module, that has the settings of its layers.
        biases: the variable that has one element a class.
        options: further arguments of the function.
    """

    name: str
    module: str
    arg_scope: str
    biases: str
    options: Mapping[str, Any] = field(default_factory=dict)
