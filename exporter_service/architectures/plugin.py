"""What an installed package offers as an architecture, beyond a plain function.

Part of the public interface: plug-ins import `Plugin` from here. An entry point of the group
`pbserve.architectures` names either a function, which is `Plugin(build=function)`, or a
`Plugin`; the entry point's own name is what requests call the architecture.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from exporter_service.architectures.architecture import (
    DEFAULT_IMAGE_SIZE,
    NO_PREPROCESSING,
    PROBS,
    ImageSize,
)
from service_kit.artifacts.manifest import Preprocessing

_CHANNELS = 3
# What TensorFlow takes as the name of an op, without scopes.
_OP_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """An architecture of another package.

    Attributes:
        build: adds the net for inference to TensorFlow's default graph, with `tf.get_variable`
            for its variables. Takes float32 images [batch, height, width, 3], preprocessed,
            and either `parameters` as the second argument or, where that is None, keyword
            arguments. Returns logits, floats [batch, classes], or a mapping of output names to
            tensors [batch, ...].
        parameters: what a request may set. None: the keyword-only arguments of `build`, which
            need annotations of JSON types; those without a default are required.
        summary: one sentence for people. Empty: the first line of the docstring of `build`.
        image_size: height and width when the request names none, in pixels.
        preprocessing: what the net was trained with, for requests that name none.
        output_name: what the probabilities of its logits are called.
    """

    build: Callable[..., Any]
    parameters: type[BaseModel] | None = None
    summary: str = ""
    image_size: ImageSize = DEFAULT_IMAGE_SIZE
    preprocessing: Preprocessing = NO_PREPROCESSING
    output_name: str = PROBS

    def __post_init__(self) -> None:
        """Refuses values that no conversion could work with.

        Raises:
            TypeError: says what `build` or `parameters` is instead.
            ValueError: says which other attribute is out of range.
        """
        # Other packages are not always checked against these annotations.
        build: Any = self.build
        model: Any = self.parameters
        size: Any = self.image_size
        if not callable(build):
            raise TypeError(f"build is {build!r}, and not a function")
        if model is not None and not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise TypeError(f"parameters is {model!r}, and not a class of pydantic's BaseModel")
        if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
            raise ValueError(f"image_size is {size!r}: give height and width, in pixels")
        for name in ("mean", "scale"):
            if len(getattr(self.preprocessing, name)) not in (0, _CHANNELS):
                raise ValueError(f"preprocessing.{name}: give {_CHANNELS} numbers or none")
        if not _OP_NAME.fullmatch(self.output_name) or self.output_name == "input":
            raise ValueError(f"output_name is {self.output_name!r}: no op can be called that")
