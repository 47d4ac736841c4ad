"""DenseNet on paper: its parameters, and the variables that they imply. No TensorFlow.

The names and shapes are those of the published slim DenseNet family, so its checkpoints are
recognised by their keys alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exporter_service.architectures.architecture import Shapes, Variable

# The 1x1 convolution of a layer has this many times the growth rate as filters.
BOTTLENECK = 4
_INPUT_CHANNELS = 3
_BATCH_NORM = {"beta": True, "gamma": True, "moving_mean": False, "moving_variance": False}

LayerCount = Annotated[int, Field(ge=1, le=256)]
# What TensorFlow takes as a name scope.
Scope = Annotated[str, Field(pattern=r"^[A-Za-z0-9.][A-Za-z0-9_.\-/]*$", max_length=200)]


class DenseNetOptions(BaseModel):
    """Parameters that every member of the family takes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    classes: int = Field(2, ge=1, le=1_000_000, description="Number of classes.")
    data_format: Literal["NHWC", "NCHW"] = Field(
        "NHWC", description="Layout inside the graph; images are sent as NHWC in both cases."
    )
    dropout_rate: float = Field(
        0.0, ge=0, lt=1, description="Rate per unit; only training graphs drop anything."
    )


class DenseNetParameters(DenseNetOptions):
    """Parameters of the general builder."""

    scope: Scope = Field("densenet", description="Variable scope of all variables.")
    reduction: float = Field(
        0.5, ge=0, lt=1, description="Share of the filters that a transition removes."
    )
    growth_rate: int = Field(32, ge=1, le=4096, description="Filters that each layer adds.")
    initial_filters: int = Field(64, ge=1, le=65536, description="Filters of the first layer.")
    layers: tuple[LayerCount, ...] = Field(
        (6, 12, 24, 16),
        min_length=1,
        max_length=32,
        strict=False,
        description="Layers of each dense block.",
    )


class FamilyParameters(DenseNetOptions):
    """Parameters of a member whose layers are fixed by its name."""

    scope: Scope | None = Field(
        None, description="Variable scope of all variables; by default the member's name."
    )


def transition_filters(filters: int, reduction: float) -> int:
    """Returns the filters after a transition: int(filters x (1 - reduction))."""
    return int(filters * (1 - reduction))


def variables(parameters: DenseNetParameters) -> dict[str, Variable]:
    """Returns every model variable by name, in the order of the layers."""
    return {f"{parameters.scope}/{name}": var for name, var in _variables(parameters)}


def _variables(p: DenseNetParameters) -> Iterator[tuple[str, Variable]]:
    filters = p.initial_filters
    yield "conv1/weights", Variable((7, 7, _INPUT_CHANNELS, filters), trainable=True)
    yield from _batch_norm("", filters)
    for block, layers in enumerate(p.layers, start=1):
        for layer in range(1, layers + 1):
            place = f"dense_block{block}/conv_block{layer}"
            yield from _unit(f"{place}/x1", 1, filters, BOTTLENECK * p.growth_rate)
            yield from _unit(f"{place}/x2", 3, BOTTLENECK * p.growth_rate, p.growth_rate)
            filters += p.growth_rate
        if block < len(p.layers):
            kept = transition_filters(filters, p.reduction)
            yield from _unit(f"transition_block{block}/blk", 1, filters, kept)
            filters = kept
    yield from _batch_norm("final_block/", filters)
    yield "logits/weights", Variable((1, 1, filters, p.classes), trainable=True)
    yield "logits/biases", Variable((p.classes,), trainable=True)


def _unit(place: str, kernel: int, filters: int, out: int) -> Iterator[tuple[str, Variable]]:
    yield from _batch_norm(f"{place}/", filters)
    yield f"{place}/Conv/weights", Variable((kernel, kernel, filters, out), trainable=True)


def _batch_norm(place: str, filters: int) -> Iterator[tuple[str, Variable]]:
    for name, trainable in _BATCH_NORM.items():
        yield f"{place}BatchNorm/{name}", Variable((filters,), trainable)


def infer(shapes: Shapes) -> DenseNetParameters | None:
    """Returns the parameters of the DenseNet whose variables are all in `shapes`, if any.

    Reads them off the keys and shapes of a checkpoint and then compares every variable.
    """
    for key in shapes:
        if key.endswith("/conv1/weights"):
            scope = key.removesuffix("/conv1/weights")
            parameters = _infer_in(scope, shapes)
            if parameters and all(
                shapes.get(name) == var.shape for name, var in variables(parameters).items()
            ):
                return parameters
    return None


def _infer_in(scope: str, shapes: Shapes) -> DenseNetParameters | None:
    layers: dict[int, int] = {}
    pattern = re.compile(
        re.escape(scope) + r"/dense_block(\d{1,3})/conv_block(\d{1,3})/x2/Conv/weights"
    )
    for key in shapes:
        if match := pattern.fullmatch(key):
            block, layer = int(match[1]), int(match[2])
            layers[block] = max(layers.get(block, 0), layer)
    try:
        return DenseNetParameters(
            scope=scope,
            growth_rate=shapes[f"{scope}/dense_block1/conv_block1/x2/Conv/weights"][-1],
            initial_filters=shapes[f"{scope}/conv1/weights"][-1],
            layers=tuple(layers[block] for block in range(1, len(layers) + 1)),
            reduction=_reduction(scope, shapes),
            classes=shapes[f"{scope}/logits/biases"][-1],
        )
    except (KeyError, IndexError, ValidationError):
        return None


def _reduction(scope: str, shapes: Shapes) -> float:
    """Returns a reduction that explains all transitions, the likeliest first."""
    pattern = re.compile(re.escape(scope) + r"/transition_block\d+/blk/Conv/weights")
    widths = [shape[2:] for key, shape in shapes.items() if pattern.fullmatch(key)]
    likely = (0.5, *(step / 20 for step in range(20)), *(step / 100 for step in range(100)))
    return next(
        (
            reduction
            for reduction in likely
            if all([transition_filters(w[0], reduction)] == list(w[1:]) for w in widths)
        ),
        0.5,
    )
