"""`pbserve up`: a checkpoint is converted and served, from one terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inference_service.addresses import DEFAULT_ADDRESS, DEFAULT_METRICS_ADDRESS
from service_kit.address import parse_address
from service_kit.cli.console import one_line_errors
from service_kit.cli.option_values import checked_by, image_size_of, numbers_of, settings_of

# Where `pbexport serve` listens, too.
_EXPORTER_ADDRESS = "127.0.0.1:8600"
_IS_ADDRESS = checked_by(parse_address)
_CONVERSION, _SERVICES = "Conversion", "Services"


def up(
    source: Annotated[
        Path,
        typer.Argument(
            help="Checkpoint (its directory or prefix), or frozen graph (.pb).",
            show_default=False,
        ),
    ],
    model: Annotated[
        str, typer.Option(help="Name to serve it as.", show_default="the directory's")
    ] = "",
    store: Annotated[Path, typer.Option(help="Folder that keeps what is made.")] = Path("models"),
    architecture: Annotated[
        str,
        typer.Option(
            help="What to build; META_GRAPH: the graph in the .meta.",
            show_default="what fits",
            rich_help_panel=_CONVERSION,
        ),
    ] = "",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Parameter of the architecture, NAME=VALUE; may be repeated.",
            rich_help_panel=_CONVERSION,
        ),
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="Tensor to feed: NAME, NAME:PORT or ALIAS=NAME; may be repeated.",
            rich_help_panel=_CONVERSION,
        ),
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            help="Tensor to answer with; may be repeated.",
            rich_help_panel=_CONVERSION,
        ),
    ] = None,
    bind: Annotated[
        list[str] | None,
        typer.Option(
            help="Give a placeholder a value, NAME=VALUE; may be repeated.",
            rich_help_panel=_CONVERSION,
        ),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(
            help="Side, or HEIGHTxWIDTH, in pixels.",
            show_default="that of training",
            rich_help_panel=_CONVERSION,
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(help="Subtracted from each channel: R,G,B.", rich_help_panel=_CONVERSION),
    ] = None,
    cards: Annotated[
        int, typer.Option(min=1, max=64, help="Number of towers.", rich_help_panel=_CONVERSION)
    ] = 1,
    listen: Annotated[
        str,
        typer.Option(
            help="Address for predictions.", callback=_IS_ADDRESS, rich_help_panel=_SERVICES
        ),
    ] = DEFAULT_ADDRESS,
    exporter_listen: Annotated[
        str,
        typer.Option(
            help="Address for conversions.", callback=_IS_ADDRESS, rich_help_panel=_SERVICES
        ),
    ] = _EXPORTER_ADDRESS,
    metrics_listen: Annotated[
        str,
        typer.Option(help="Address of the page.", callback=_IS_ADDRESS, rich_help_panel=_SERVICES),
    ] = DEFAULT_METRICS_ADDRESS,
    devices: Annotated[
        str,
        typer.Option(help="auto, gpu:0,gpu:2, or cpu:N.", rich_help_panel=_SERVICES),
    ] = "auto",
) -> None:
    """Convert a checkpoint and serve it; Ctrl-C ends everything.

    Runs `pbexport serve` and `pbserve serve` underneath. A second `up` on the same store converts
    only what is new. Settings of PBSERVE_* and PBEXPORT_* do not count here.
    """
    # What needs NumPy and gRPC is imported here, so that help starts faster.
    from inference_service.cli.up.plan import Wishes
    from inference_service.cli.up.run import Ports, serve_source
    from inference_service.cli.up.source import find_source

    wishes = Wishes(
        architecture=architecture,
        parameters=settings_of("set", set_ or ()),
        image_size=image_size_of(image_size),
        mean=tuple(numbers_of("mean", mean, float)),
        inputs=tuple(input_ or ()),
        outputs=tuple(output or ()),
        bindings=settings_of("bind", bind or ()),
        cards=cards,
    )
    with one_line_errors():
        serve_source(
            find_source(source, model),
            wishes,
            store,
            Ports(listen, exporter_listen, metrics_listen),
            devices,
        )
