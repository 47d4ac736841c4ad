"""Options that several commands of `pbserve` have."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_ADDRESS = "127.0.0.1:8500"

Address = Annotated[
    str, typer.Option(envvar="PBSERVE_ADDRESS", help="Inference service to ask, host:port.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Model = Annotated[str, typer.Argument(help="Name of the model.", show_default=False)]
