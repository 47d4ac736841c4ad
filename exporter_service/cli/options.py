"""Values of the command line's options."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter_service.addresses import DEFAULT_ADDRESS
from exporter_service.cli.completion import model_names
from service_kit.cli.connection_options import connection_options
from service_kit.cli.option_values import numbers_of

if TYPE_CHECKING:
    from exporter_service.specs.probes import Array

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Model = Annotated[
    str, typer.Argument(help="Name of the model.", show_default=False, autocompletion=model_names)
]
Timeout = Annotated[
    float | None,
    typer.Option(min=0.001, help="Seconds to wait for the exporter.", show_default="no limit"),
]

connected = connection_options("PBEXPORT", DEFAULT_ADDRESS, "Exporter service")


class Device(str, enum.Enum):
    """Device kinds as options."""

    GPU = "gpu"
    CPU = "cpu"


class Average(str, enum.Enum):
    """Moving-average modes as options."""

    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


class Pins(str, enum.Enum):
    """Device pins as options."""

    RECIPE = "recipe"
    KEEP = "keep"
    CLEAR = "clear"


class Route(str, enum.Enum):
    """Freezing routes as options."""

    SESSION = "session"
    META_GRAPH = "meta-graph"


class Format(str, enum.Enum):
    """Extra formats as options."""

    SAVED_MODEL = "saved-model"
    ONNX = "onnx"


class Augment(str, enum.Enum):
    """Augmentations as options."""

    NONE = "none"
    TRAINING = "training"


class Demand(str, enum.Enum):
    """Parity demands as options."""

    ANY = "any"
    END_TO_END = "end-to-end"
    BEHIND_AUGMENTATION = "behind-augmentation"


class Dtype(str, enum.Enum):
    """Element types of images as options."""

    FLOAT32 = "float32"
    UINT8 = "uint8"


def shapes_of(texts: Sequence[str]) -> dict[str, list[int]]:
    """Returns NAME -> dimensions of texts `NAME=N,N,...`."""
    found = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not equals or not name:
            raise typer.BadParameter(f"--shape {text!r}: give NAME=N,N,... with -1 for any")
        found[name] = numbers_of("shape", value, int)
    return found


def probe_of(path: Path | None) -> dict[str, Array]:
    """Returns the arrays of an `.npz` (by input name) or `.npy` file; none for None."""
    if path is None:
        return {}
    import numpy as np

    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"--probe {path}: {error}") from error
