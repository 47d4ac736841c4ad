"""What an architecture is: parameters, the variables they imply, and a builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from service_kit import errors
from service_kit.artifacts.manifest import Preprocessing

ImageSize = tuple[int, int]
Shapes = Mapping[str, tuple[int, ...]]

DEFAULT_IMAGE_SIZE = (224, 224)
NO_PREPROCESSING = Preprocessing()
PROBS = "probs"


@dataclass(frozen=True, slots=True)
class Variable:
    """Shape of a model variable, whether training changes it by gradient, NumPy dtype name."""

    shape: tuple[int, ...]
    trainable: bool
    dtype: str = "float32"


def _same(parameters: Any) -> Any:
    return parameters


def _unknown(shapes: Shapes) -> BaseModel | None:  # noqa: ARG001 - the signature of `infer`
    return None


@dataclass(frozen=True, slots=True)
class Architecture:
    """A net that can be built by name.

    Where `traced` is False, everything here but `build` works without TensorFlow, so that the
    service can list, validate and match such architectures in its own process.

    Attributes:
        name: what requests call it.
        summary: one sentence for people.
        image_size: height and width when the request names none, in pixels.
        parameters: what a request may set.
        plan: from resolved parameters and the image size to the variables by name.
        builder: from images and resolved parameters to logits or outputs; see `build`.
        resolve: from those parameters to what `plan` and the builder take.
        infer: from a checkpoint's keys and shapes to the parameters that fit them, if any.
        preprocessing: what the net was trained with, for requests that name none.
        output_name: what the probabilities of its logits are called.
        traced: whether `plan` and `infer` need TensorFlow, because they run the builder.
    """

    name: str
    summary: str
    image_size: ImageSize
    parameters: type[BaseModel]
    plan: Callable[[Any, ImageSize], Mapping[str, Variable]]
    builder: Callable[[Any, Any], Any]
    resolve: Callable[[Any], Any] = _same
    infer: Callable[[Shapes], BaseModel | None] = _unknown
    preprocessing: Preprocessing = NO_PREPROCESSING
    output_name: str = PROBS
    traced: bool = False

    def parse(self, parameters: Mapping[str, Any]) -> BaseModel:
        """Returns validated parameters, defaults filled in.

        Raises:
            InvalidParameters: says which, what was given and what is allowed.
        """
        # Parameters travel as JSON. Read as JSON, a strict tuple or enumeration takes what
        # stands for it there, whoever wrote the model.
        travelled = to_json(dict(parameters), inf_nan_mode="constants", fallback=repr)
        try:
            return self.parameters.model_validate_json(travelled)
        except ValidationError as error:
            problems = "; ".join(_problem(detail, self.parameters) for detail in error.errors())
            raise errors.InvalidParameters(f"{self.name}: {problems}") from error

    def variables(
        self, parameters: BaseModel, image_size: ImageSize | None = None
    ) -> Mapping[str, Variable]:
        """Returns every model variable by name.

        Args:
            parameters: as returned by `parse`.
            image_size: height and width, in pixels, which dense layers may depend on; None:
                the default.

        Raises:
            Unconvertible: a traced net cannot be built, or has variables that no checkpoint
                can give a value.
        """
        return self.plan(self.resolve(parameters), image_size or self.image_size)

    def build(self, images: Any, parameters: BaseModel) -> Any:
        """Adds the layers to TensorFlow's default graph; a second call shares the variables.

        Args:
            images: float32 [batch, height, width, 3], already preprocessed.
            parameters: as returned by `parse`.

        Returns:
            Logits, of floats [batch, classes], whose softmax is to be called `output_name`; or
            a mapping of names to tensors [batch, ...] that are the outputs as they are.

        Raises:
            Unconvertible: a traced net failed, returned something else, or made variables of
                its own in a second call.
        """
        return self.builder(images, self.resolve(parameters))


def _problem(detail: Mapping[str, Any], parameters: type[BaseModel]) -> str:
    place = ".".join(str(part) for part in detail["loc"]) or "parameters"
    if detail["type"] == "extra_forbidden":
        accepted = ", ".join(sorted(parameters.model_fields)) or "none"
        return f"it has no parameter {place}; it takes {accepted}"
    if detail["type"] == "missing":
        return f"{place} is missing, and it has no default"
    given = repr(detail["input"])
    return f"{place} is {given if len(given) <= 80 else given[:77] + '...'}: {detail['msg']}"
