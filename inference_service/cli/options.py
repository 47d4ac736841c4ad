"""Options that several commands of `pbserve` have."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from inference_service.addresses import DEFAULT_ADDRESS
from inference_service.cli.completion import label_names, model_names
from service_kit.cli.connection_options import connection_options

# Of calls that a server answers from memory: one that takes longer hangs.
ANSWER_SECONDS = 10.0


class FitOption(str, enum.Enum):
    """Ways to bring an encoded image to the model's size, as options."""

    EXACT = "exact"
    STRETCH = "stretch"
    CROP = "crop"


Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Model = Annotated[
    str, typer.Argument(help="Name of the model.", show_default=False, autocompletion=model_names)
]
Images = Annotated[
    list[Path] | None,
    typer.Argument(
        help="JPEG and PNG files, and folders of them (.jpg, .jpeg, .png; not below).",
        show_default=False,
    ),
]
Npz = Annotated[
    Path | None, typer.Option(help="NumPy archive with the images.", show_default=False)
]
Key = Annotated[str, typer.Option(help="Array in the archive, of shape images x ...")]
Fit = Annotated[FitOption, typer.Option(help="How files are brought to the model's size.")]
Card = Annotated[int | None, typer.Option(help="Card to run on.", show_default="any")]
Version = Annotated[int, typer.Option(help="Version to ask; 0: the model's default one.")]
Label = Annotated[
    str,
    typer.Option(
        help="Label of the version to ask.", show_default=False, autocompletion=label_names
    ),
]
Bulk = Annotated[bool, typer.Option("--bulk", help="Let interactive requests go first.")]
Timeout = Annotated[
    float | None,
    typer.Option(min=0.001, help="Seconds to wait for the server.", show_default="no limit"),
]

connected = connection_options("PBSERVE", DEFAULT_ADDRESS, "Inference service")
