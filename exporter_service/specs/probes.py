"""Batches that the check compares on. No TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from service_kit import errors
from service_kit.artifacts.manifest import TensorSpec

Array = npt.NDArray[Any]
# Semantic name of an input -> its batch; the same for every tower.
Probe = Mapping[str, Array]

CALLER = "caller"
_NOISE_SEED = 20181220
_NOISE_IMAGES = 2
_PIXEL_MAXIMUM = 255.0
# Stand for dimensions that the graph leaves open, by the number of dimensions.
_OPEN_SIDE = {4: 64}
_OPEN_SIZE = 8


def standard_probes(
    inputs: Sequence[TensorSpec],
    *,
    pixels: bool,
    open_size: tuple[int, int] | None = None,
    max_batch: int = 0,
) -> dict[str, Probe]:
    """Returns probes by name: one batch of ones, and fixed noise in the inputs' range.

    Args:
        inputs: what a tower takes, batch first.
        pixels: the inputs are images of 0..255. Otherwise the range is not known, and there is
            a batch of noise in 0..1 as well.
        open_size: height and width to use for images of any size.
        max_batch: most images that a tower takes in one run; 0: any number.
    """
    shapes = {spec.name: _shape(spec, open_size) for spec in inputs}
    images = min(_NOISE_IMAGES, max_batch or _NOISE_IMAGES)

    def noise(highest: float) -> Probe:
        return {spec.name: _noise(spec, (images, *shapes[spec.name]), highest) for spec in inputs}

    probes: dict[str, Probe] = {
        "ones": {
            spec.name: np.ones((1, *shapes[spec.name]), np.dtype(spec.dtype)) for spec in inputs
        },
        "noise": noise(_PIXEL_MAXIMUM),
    }
    if not pixels and any(np.dtype(spec.dtype).kind == "f" for spec in inputs):
        probes["small noise"] = noise(1.0)
    return probes


def check_probe(probe: Probe, inputs: Sequence[TensorSpec], max_batch: int = 0) -> dict[str, Array]:
    """Returns the caller's probe by the inputs' names.

    Raises:
        InvalidRequest: an input is absent or unknown, or has another dtype or shape.
    """
    named = dict(probe)
    if len(inputs) == 1 and "" in named:
        named[inputs[0].name] = named.pop("")
    wanted = [spec.name for spec in inputs]
    if sorted(named) != sorted(wanted):
        raise errors.InvalidRequest(
            f"the probe has {', '.join(sorted(named))}: the graph takes {', '.join(wanted)}"
        )
    for spec in inputs:
        value = named[spec.name]
        fits = value.ndim == len(spec.shape) and all(
            size in (-1, found) for size, found in zip(spec.shape[1:], value.shape[1:], strict=True)
        )
        if value.dtype != np.dtype(spec.dtype) or not fits or not value.shape[0]:
            raise errors.InvalidRequest(
                f"the probe's {spec.name} is {value.dtype} {list(value.shape)}: the graph takes "
                f"{spec.dtype} {list(spec.shape)}, at least one of them"
            )
    if len({value.shape[0] for value in named.values()}) > 1:
        raise errors.InvalidRequest("the probe's inputs have batches of different sizes")
    images = len(next(iter(named.values())))
    if max_batch and images > max_batch:
        raise errors.InvalidRequest(
            f"give a probe of {max_batch}: the graph takes no more in one run, and this one has "
            f"{images}"
        )
    return named


def shaped_as(probe: Probe, inputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Returns the inputs with the sizes of a caller's probe where they leave any open.

    Open sizes may hang together, as those of an image and of one twice its size do: then no other
    sizes can be tried. What does not fit is left to `check_probe`.
    """
    named = {inputs[0].name: probe[""]} if len(inputs) == 1 and "" in probe else probe
    return tuple(
        replace(spec, probe_shape=named[spec.name].shape[1:])
        if -1 in spec.shape[1:] and spec.name in named and named[spec.name].ndim == len(spec.shape)
        else spec
        for spec in inputs
    )


def _shape(spec: TensorSpec, open_size: tuple[int, int] | None) -> tuple[int, ...]:
    size = _OPEN_SIDE.get(len(spec.shape), _OPEN_SIZE)
    sides = list(spec.probe_shape or spec.shape[1:])
    if open_size and len(spec.shape) == 4:
        sides[:2] = [
            given if side < 0 else side for side, given in zip(sides[:2], open_size, strict=True)
        ]
    return tuple(size if side < 0 else side for side in sides)


def _noise(spec: TensorSpec, whole: tuple[int, ...], highest: float) -> Array:
    random = np.random.default_rng(_NOISE_SEED)
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return random.uniform(0, highest, whole).astype(dtype)
    # Other integers count, or name an entry of a table: 0 and 1 are in range of all.
    top = int(_PIXEL_MAXIMUM) if dtype == np.uint8 else 1
    return random.integers(0, top, whole, endpoint=True).astype(dtype)
