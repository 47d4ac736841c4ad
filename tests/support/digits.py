"""The golden digits: files, what was trained, and what TensorFlow 1.15 answered."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter_service.checkpoints.roots import CheckpointRoots
from exporter_service.specs.conversion import ConversionRequest, ConversionSpec, TowerOptions
from service_kit.artifacts.manifest import (
    ArchitectureSpec,
    Conversion,
    MovingAverageMode,
    Preprocessing,
)

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "digits"
SPEC = ArchitectureSpec(
    "densenet",
    {
        "scope": "densenet_digits",
        "growth_rate": 8,
        "initial_filters": 16,
        "layers": [3, 4, 3],
        "reduction": 0.5,
        "classes": 10,
    },
)
MEAN = Preprocessing(mean=(177.26, 109.55, 168.66))
# The bar of the project: largest difference to TensorFlow 1.15, absolute.
PARITY = 1e-5


@cache
def expected(name: str = "expected") -> dict[str, npt.NDArray[Any]]:
    """Returns the arrays of `expected.npz`, `expected_noema.npz` or `expected_v1.npz`."""
    with np.load(GOLDEN / f"{name}.npz") as archive:
        return dict(archive)


def digits_spec(
    checkpoint: str = "ckpt_ema",
    moving_average: MovingAverageMode = MovingAverageMode.AUTO,
    cards: int = 1,
    architecture: ArchitectureSpec = SPEC,
    root: Path = GOLDEN,
    **changes: Any,
) -> ConversionSpec:
    """Returns what the conversion's process is told."""
    fields: dict[str, Any] = {
        "checkpoint": CheckpointRoots([root]).locate(checkpoint),
        "architecture": architecture,
        "towers": TowerOptions(image_size=(32, 32), cards=cards),
        "moving_average": moving_average,
        "preprocessing": MEAN,
    }
    return ConversionSpec(**(fields | changes))


def digits_request(cards: int = 2, **changes: Any) -> ConversionRequest:
    """Returns what a client asks for."""
    fields: dict[str, Any] = {
        "model": "digits",
        "checkpoint": "ckpt_ema",
        "architecture": SPEC,
        "towers": TowerOptions(image_size=(32, 32), cards=cards),
        "preprocessing": MEAN,
    }
    return ConversionRequest(**(fields | changes))


def convert_and_prove(spec: ConversionSpec, folder: Path) -> Conversion:
    """Converts and proves in this process, as the service does in two others."""
    from exporter_service.conversion.convert import convert
    from exporter_service.parity.proof import prove

    done = convert(spec, folder, lambda _: None)
    return replace(done, parity=prove(done, folder, lambda _: None))
