"""What an architecture is: parameters, the variables they imply, and a builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydantic import BaseModel, ValidationError

from service_kit import errors


@dataclass(frozen=True, slots=True)
class Variable:
    """Shape of a model variable, and whether training changes it by gradient."""

    shape: tuple[int, ...]
    trainable: bool


@dataclass(frozen=True, slots=True)
class Architecture:
    """A family member that can be built by name.

    Everything here but the builder itself works without TensorFlow, so that the service can
    list, validate and match architectures in its own process.

    Attributes:
        name: what requests call it.
        summary: one sentence for people.
        image_size: height and width when the request names none, in pixels.
        parameters: what a request may set.
        resolve: from those parameters to what `plan` and the builder take.
        plan: resolved parameters to the variables by name.
        infer: from a checkpoint's keys and shapes to the parameters that fit them, if any.
        builder: import path, `module:function`, of (images, resolved parameters) -> logits.
    """

    name: str
    summary: str
    image_size: tuple[int, int]
    parameters: type[BaseModel]
    resolve: Callable[[Any], BaseModel]
    plan: Callable[[Any], Mapping[str, Variable]]
    infer: Callable[[Mapping[str, tuple[int, ...]]], BaseModel | None]
    builder: str

    def parse(self, parameters: Mapping[str, Any]) -> BaseModel:
        """Returns validated parameters, defaults filled in.

        Raises:
            InvalidParameters: says which, what was given and what is allowed.
        """
        try:
            return self.parameters.model_validate(dict(parameters))
        except ValidationError as error:
            problems = "; ".join(_problem(detail, self.parameters) for detail in error.errors())
            raise errors.InvalidParameters(f"{self.name}: {problems}") from error

    def variables(self, parameters: BaseModel) -> Mapping[str, Variable]:
        """Returns every model variable by name, for parameters as returned by `parse`."""
        return self.plan(self.resolve(parameters))

    def build(self, images: Any, parameters: BaseModel) -> Any:
        """Adds the layers to TensorFlow's default graph.

        Args:
            images: float32 [batch, height, width, 3], already preprocessed.
            parameters: as returned by `parse`.

        Returns:
            Logits, float32 [batch, classes].
        """
        module, _, function = self.builder.partition(":")
        return getattr(import_module(module), function)(images, self.resolve(parameters))


def _problem(detail: Mapping[str, Any], parameters: type[BaseModel]) -> str:
    place = ".".join(str(part) for part in detail["loc"]) or "parameters"
    if detail["type"] == "extra_forbidden":
        accepted = ", ".join(sorted(parameters.model_fields))
        return f"it has no parameter {place}; it takes {accepted}"
    given = repr(detail["input"])
    return f"{place} is {given if len(given) <= 80 else given[:77] + '...'}: {detail['msg']}"
