"""`pbexport convert`: every option of a conversion, and its progress."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exporter_service.cli.artifact_options import (
    META_PANEL,
    PROOF_PANEL,
    Bindings,
    ClassLabels,
    Formats,
    Inputs,
    KeepDropout,
    Outputs,
    ProbeFile,
    Shapes,
    Tolerance,
    Unbatched,
    Version,
    formats_of,
    print_manifest,
)
from exporter_service.cli.completion import architecture_names
from exporter_service.cli.connecting import open_client
from exporter_service.cli.options import (
    Augment,
    Average,
    Demand,
    Device,
    Dtype,
    Json,
    Model,
    Pins,
    Route,
    Timeout,
    connected,
    probe_of,
    shapes_of,
)
from service_kit.cli.connection_options import ServerChoice
from service_kit.cli.console import one_line_errors
from service_kit.cli.option_group import by_topic
from service_kit.cli.option_values import image_size_of, numbers_of, settings_of

if TYPE_CHECKING:
    from service_kit.artifacts.manifest import Preprocessing

_DENSENET = "DenseNet"
_IMAGES, _FORM = "Images", "Form of the graph"


@connected
@by_topic({})
def convert(
    model: Model,
    checkpoint: Annotated[
        str,
        typer.Option(
            help="Path below a checkpoint root: a directory with a state file, or a prefix."
        ),
    ],
    architecture: Annotated[
        str,
        typer.Option(
            help="See `pbexport architectures`; META_GRAPH: the graph in the checkpoint's .meta.",
            autocompletion=architecture_names,
        ),
    ],
    classes: Annotated[int | None, typer.Option(help="Number of classes.")] = None,
    class_labels: ClassLabels = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any parameter of the architecture, NAME=VALUE."),
    ] = None,
    cards: Annotated[int, typer.Option(min=1, max=64, help="Number of towers.")] = 1,
    moving_average: Annotated[
        Average, typer.Option(help="Which values to restore.")
    ] = Average.AUTO,
    key_map: Annotated[
        list[str] | None,
        typer.Option(help="Rewrite checkpoint keys, PATTERN=REPLACEMENT; may be repeated."),
    ] = None,
    version: Version = None,
    unbatched: Unbatched = False,
    format_: Formats = None,
    request_id: Annotated[
        str | None,
        typer.Option(help="The same id again gives the same artifact; default: a new one."),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(help="Side, or HEIGHTxWIDTH, in pixels.", rich_help_panel=_IMAGES),
    ] = None,
    free_image_size: Annotated[
        bool, typer.Option("--free-image-size", help="Any size.", rich_help_panel=_IMAGES)
    ] = False,
    mean: Annotated[
        str | None,
        typer.Option(help="Subtracted from each channel: R,G,B.", rich_help_panel=_IMAGES),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(help="Multiplies each channel after the mean.", rich_help_panel=_IMAGES),
    ] = None,
    augmentation: Annotated[
        Augment | None,
        typer.Option(help="`training`: random, as in training.", rich_help_panel=_IMAGES),
    ] = None,
    input_dtype: Annotated[
        Dtype | None,
        typer.Option(help="Element type of images; cast inside.", rich_help_panel=_IMAGES),
    ] = None,
    device: Annotated[
        Device, typer.Option(help="What several towers are pinned to.", rich_help_panel=_FORM)
    ] = Device.GPU,
    device_pins: Annotated[
        Pins,
        typer.Option(help="`recipe`: kept with several towers.", rich_help_panel=_FORM),
    ] = Pins.RECIPE,
    freezing_route: Annotated[
        Route, typer.Option(help="Both give the same graph.", rich_help_panel=_FORM)
    ] = Route.SESSION,
    scope_prefix: Annotated[
        str, typer.Option(help="Name scope of several towers.", rich_help_panel=_FORM)
    ] = "Card",
    input_name: Annotated[
        str, typer.Option(help="Name of a single input.", rich_help_panel=_FORM)
    ] = "",
    output_name: Annotated[
        str, typer.Option(help="Name of a single output.", rich_help_panel=_FORM)
    ] = "",
    keep_checkpoint: Annotated[
        bool,
        typer.Option(
            "--keep-checkpoint",
            help="Publish the checkpoint with placeholder too.",
            rich_help_panel=_FORM,
        ),
    ] = False,
    input_: Inputs = None,
    output: Outputs = None,
    shape: Shapes = None,
    bind: Bindings = None,
    keep_dropout: KeepDropout = False,
    keep_batch_statistics: Annotated[
        bool,
        typer.Option(
            "--keep-batch-statistics",
            help="Leave batch norms in training mode.",
            rich_help_panel=META_PANEL,
        ),
    ] = False,
    initial_state: Annotated[
        bool,
        typer.Option(
            "--initial-state",
            help="Begin every request with the initializer's value of variables that carry state.",
            rich_help_panel=META_PANEL,
        ),
    ] = False,
    keep_stored: Annotated[
        list[str] | None,
        typer.Option(
            help="Take the stored value of a variable that carries state; may be repeated.",
            rich_help_panel=META_PANEL,
        ),
    ] = None,
    compare_twin: Annotated[
        bool,
        typer.Option(
            help="Compare with an evaluation copy in the same graph.", rich_help_panel=PROOF_PANEL
        ),
    ] = True,
    parity: Annotated[
        Demand, typer.Option(help="What the check must show.", rich_help_panel=PROOF_PANEL)
    ] = Demand.ANY,
    tolerance: Tolerance = None,
    probe: ProbeFile = None,
    scope: Annotated[
        str | None, typer.Option(help="Variable scope.", rich_help_panel=_DENSENET)
    ] = None,
    growth_rate: Annotated[int | None, typer.Option(rich_help_panel=_DENSENET)] = None,
    initial_filters: Annotated[int | None, typer.Option(rich_help_panel=_DENSENET)] = None,
    layers: Annotated[
        str | None, typer.Option(help="Of each block, N,N,...", rich_help_panel=_DENSENET)
    ] = None,
    reduction: Annotated[float | None, typer.Option(rich_help_panel=_DENSENET)] = None,
    data_format: Annotated[
        str | None, typer.Option(help="NHWC or NCHW.", rich_help_panel=_DENSENET)
    ] = None,
    dropout_rate: Annotated[
        float | None, typer.Option(help="As in training.", rich_help_panel=_DENSENET)
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show every step live, and how long it takes.")
    ] = False,
    timeout: Timeout = None,
    as_json: Json = False,
    *,
    connection: ServerChoice,
) -> None:
    """Convert a checkpoint and publish it as the next version of MODEL.

    Ctrl-C ends the conversion, unless somebody else follows it, too.
    """
    # What needs NumPy and protobuf is imported here, so that help starts faster.
    from exporter_service.checkpoints.key_rewrites import parse_rewrites
    from exporter_service.cli.conversion_screen import followed
    from exporter_service.cli.label_file import read_labels
    from exporter_service.specs.conversion import (
        TOLERANCE,
        ConversionRequest,
        DevicePins,
        FreezingRoute,
        ParityDemand,
        TowerOptions,
    )
    from service_kit.artifacts.manifest import ArchitectureSpec, MovingAverageMode

    parameters: dict[str, Any] = {
        "classes": classes,
        "scope": scope,
        "growth_rate": growth_rate,
        "initial_filters": initial_filters,
        "layers": layers and numbers_of("layers", layers, int),
        "reduction": reduction,
        "data_format": data_format,
        "dropout_rate": dropout_rate,
        "inputs": input_,
        "outputs": output,
        "shapes": shapes_of(shape or ()) or None,
        "bindings": settings_of("bind", bind or ()) or None,
        "keep_dropout": keep_dropout or None,
        "keep_batch_statistics": keep_batch_statistics or None,
        "initial_state": initial_state or None,
        "keep_stored": keep_stored,
        "compare_twin": None if compare_twin else False,
        **settings_of("set", set_ or ()),
    }
    with one_line_errors(), open_client(connection) as client:
        request = ConversionRequest(
            model=model,
            version=version,
            checkpoint=checkpoint,
            architecture=ArchitectureSpec(
                architecture, {key: value for key, value in parameters.items() if value is not None}
            ),
            towers=TowerOptions(
                cards=cards,
                device_kind=device.value,
                device_pins=DevicePins[device_pins.name],
                scope_prefix=scope_prefix,
                input_name=input_name,
                output_name=output_name,
                image_size=image_size_of(image_size),
                free_image_size=free_image_size,
                input_dtype=input_dtype.value if input_dtype else "",
            ),
            moving_average=MovingAverageMode[moving_average.name],
            preprocessing=_preprocessing(mean, scale, augmentation),
            freezing_route=FreezingRoute[freezing_route.name],
            keep_checkpoint=keep_checkpoint,
            formats=formats_of(format_),
            key_map=parse_rewrites(key_map or ()),
            parity=ParityDemand[parity.name],
            tolerance=TOLERANCE if tolerance is None else tolerance,
            probe=probe_of(probe),
            class_labels=read_labels(class_labels),
            unbatched=unbatched,
            request_id=request_id or uuid.uuid4().hex,
        )
        events = client.convert(request, timeout=timeout)
        print_manifest(followed(events, every_step=watch), as_json=as_json)


def _preprocessing(
    mean: str | None, scale: str | None, augmentation: Augment | None
) -> Preprocessing | None:
    """Returns None when nothing is said, which leaves it to the architecture."""
    from service_kit.artifacts.manifest import Augmentation, Preprocessing

    if mean is None and scale is None and augmentation is None:
        return None
    return Preprocessing(
        mean=tuple(numbers_of("mean", mean or None, float)),
        scale=tuple(numbers_of("scale", scale or None, float)),
        augmentation=Augmentation[(augmentation or Augment.NONE).name],
    )
