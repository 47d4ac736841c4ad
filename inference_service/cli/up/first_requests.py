"""How to ask a model that has just been served: lines to paste, with its real names and shapes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from inference_service.addresses import DEFAULT_ADDRESS
from service_kit.artifacts.manifest import TensorSpec

_CHANNELS = (1, 3)
# Where the graph takes any size: what most nets of this kind were trained with.
_PIXELS = 224


@dataclass(frozen=True, slots=True)
class Served:
    """A model as requests see it, and where: `page` is a URL, or empty."""

    model: str
    version: int
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    address: str
    page: str
    exporter: str
    program: str = "pbserve"


def first_requests(served: Served) -> list[str]:
    """Returns lines for the terminal: from a shell, from Python, in a browser."""
    lines = ["From a shell:", "", f"    {predict_line(served)}", "", "From Python:", ""]
    lines += [f"    {line}".rstrip() for line in snippet(served)]
    lines += ["", f"gRPC      {served.address}"]
    if served.page:
        lines.append(f"page      {served.page}")
    return [*lines, f"exporter  {served.exporter}"]


def predict_line(served: Served) -> str:
    """Returns the command that asks once."""
    asks = [served.program, "predict", served.model]
    if len(served.inputs) > 1:
        # The command sends one input: others need the snippet.
        asks = [served.program, "show", served.model]
    elif _is_image(served.inputs[0]):
        asks += ["photo.jpg", "--fit", "stretch"]
    else:
        asks += ["--npz", "inputs.npz", "--key", served.inputs[0].name]
    if served.address != DEFAULT_ADDRESS:
        asks += ["--address", served.address]
    return shlex.join(asks)


def snippet(served: Served) -> list[str]:
    """Returns a program that asks once, with zeros for what is to be asked."""
    arrays = {one.name: _zeros(one) for one in served.inputs}
    (sole, *more) = arrays.values()
    asked = (
        [f"inputs = {sole}  # yours"]
        if not more
        else ["inputs = {", *(f'    "{name}": {array},' for name, array in arrays.items()), "}"]
    )
    call = f'client.predict("{served.model}", inputs)'
    return [
        "import numpy as np",
        "",
        "from pbserve import InferenceClient",
        "",
        *asked,
        f'with InferenceClient("{served.address}") as client:',
        f'    print({call}.outputs["{served.outputs[0].name}"])',
    ]


def _zeros(spec: TensorSpec) -> str:
    image = _is_image(spec)
    sizes = [1, *(size if size > 0 else _PIXELS if image else 1 for size in spec.shape[1:])]
    return f'np.zeros({sizes}, "{spec.dtype}")'


def _is_image(spec: TensorSpec) -> bool:
    return len(spec.shape) == 4 and spec.shape[3] in _CHANNELS
