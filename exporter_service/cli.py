"""`pbexport`: the exporter service and its client on the command line."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from exporter_service import tables
from exporter_service.checkpoint_contents import CheckpointContents
from exporter_service.client import ConversionProgress, ExporterClient
from exporter_service.conversion_order import ConversionRequest
from exporter_service.options import Average, Device, image_size_of, numbers_of
from exporter_service.settings import ExporterSettings
from service_kit import errors
from service_kit.address import parse_address
from service_kit.console import (
    LogFormatOption,
    notices,
    one_line_errors,
    plain,
    print_json,
    results,
)
from service_kit.manifest import ArchitectureSpec, Manifest, MovingAverageMode, Preprocessing

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Turns TensorFlow 1 training checkpoints into frozen graphs that pbserve serves.",
)

Address = Annotated[
    str, typer.Option(envvar="PBEXPORT_ADDRESS", help="Exporter service to ask, host:port.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Model = Annotated[str, typer.Argument(help="Name of the model.", show_default=False)]
_ADDRESS = "127.0.0.1:8600"


@app.command()
def serve(
    listen: Annotated[
        str, typer.Option(envvar="PBEXPORT_LISTEN", help="Address to listen on; port 0: any.")
    ] = _ADDRESS,
    store: Annotated[
        str, typer.Option(envvar="PBEXPORT_STORE", help="Artifact store: a path or fsspec URL.")
    ] = "./models",
    checkpoint_root: Annotated[
        list[Path],
        typer.Option(
            envvar="PBEXPORT_CHECKPOINT_ROOT",
            help="Folder below which checkpoints may be read; may be repeated.",
        ),
    ] = [Path("./checkpoints")],  # noqa: B006 - typer copies it
    workers: Annotated[
        int,
        typer.Option(envvar="PBEXPORT_WORKERS", min=1, max=64, help="Conversions at a time."),
    ] = 1,
    lame_duck: Annotated[
        float,
        typer.Option(
            envvar="PBEXPORT_LAME_DUCK",
            min=0,
            help="Seconds from NOT_SERVING to the end of new calls.",
        ),
    ] = 0.0,
    grace: Annotated[
        float,
        typer.Option(
            envvar="PBEXPORT_GRACE", min=0, help="Seconds for calls in flight at the end."
        ),
    ] = 10.0,
    log_format: Annotated[
        LogFormatOption, typer.Option(envvar="PBEXPORT_LOG_FORMAT", help="Logs on standard error.")
    ] = LogFormatOption.CONSOLE,
) -> None:
    """Run the exporter service until SIGTERM or Ctrl-C."""
    from exporter_service.__main__ import run  # the server's imports are not the client's

    with one_line_errors():
        run(
            ExporterSettings(
                listen=parse_address(listen),
                store=store,
                checkpoint_roots=tuple(checkpoint_root),
                workers=workers,
                lame_duck_seconds=lame_duck,
                grace_seconds=grace,
                log_format=log_format.value,
            )
        )


@app.command()
def convert(
    model: Model,
    checkpoint: Annotated[
        str,
        typer.Option(
            help="Path below a checkpoint root: a directory with a state file, or a prefix."
        ),
    ],
    architecture: Annotated[str, typer.Option(help="See `pbexport architectures`.")],
    classes: Annotated[Optional[int], typer.Option(help="Number of classes.")] = None,
    image_size: Annotated[
        Optional[str], typer.Option(help="Side, or HEIGHTxWIDTH, in pixels.")
    ] = None,
    cards: Annotated[int, typer.Option(help="Number of towers.")] = 1,
    device: Annotated[Device, typer.Option(help="What several towers are pinned to.")] = Device.GPU,
    moving_average: Annotated[
        Average, typer.Option(help="Which values to restore.")
    ] = Average.AUTO,
    mean: Annotated[
        Optional[str], typer.Option(help="Subtracted from each channel: R,G,B.")
    ] = None,
    scale: Annotated[
        Optional[str], typer.Option(help="Multiplies each channel after the mean: R,G,B.")
    ] = None,
    version: Annotated[Optional[int], typer.Option(help="Version; default: the next.")] = None,
    scope: Annotated[Optional[str], typer.Option(help="Variable scope.")] = None,
    growth_rate: Annotated[Optional[int], typer.Option(help="Only `densenet`.")] = None,
    initial_filters: Annotated[Optional[int], typer.Option(help="Only `densenet`.")] = None,
    layers: Annotated[
        Optional[str], typer.Option(help="Layers of each block, N,N,...; only `densenet`.")
    ] = None,
    reduction: Annotated[Optional[float], typer.Option(help="Only `densenet`.")] = None,
    data_format: Annotated[Optional[str], typer.Option(help="NHWC or NCHW.")] = None,
    dropout_rate: Annotated[Optional[float], typer.Option(help="As in training.")] = None,
    address: Address = _ADDRESS,
    as_json: Json = False,
) -> None:
    """Convert a checkpoint and publish it as the next version of MODEL."""
    parameters = {
        "classes": classes,
        "scope": scope,
        "growth_rate": growth_rate,
        "initial_filters": initial_filters,
        "layers": layers and numbers_of("layers", layers, int),
        "reduction": reduction,
        "data_format": data_format,
        "dropout_rate": dropout_rate,
    }
    request = ConversionRequest(
        model=model,
        version=version,
        checkpoint=checkpoint,
        architecture=ArchitectureSpec(
            architecture, {key: value for key, value in parameters.items() if value is not None}
        ),
        image_size=image_size_of(image_size),
        cards=cards,
        device_kind=device.value,
        moving_average=MovingAverageMode[moving_average.name],
        preprocessing=Preprocessing(
            mean=tuple(numbers_of("mean", mean, float)),
            scale=tuple(numbers_of("scale", scale, float)),
        ),
        request_id=uuid.uuid4().hex,
    )
    with one_line_errors(), ExporterClient(address) as client:
        manifest = _watched(client, request)
        if as_json:
            print_json(_described(manifest))
        else:
            results.print(tables.manifest_table(manifest))


@app.command()
def inspect(
    checkpoint: Annotated[
        str, typer.Argument(help="Path below a checkpoint root.", show_default=False)
    ],
    address: Address = _ADDRESS,
    as_json: Json = False,
) -> None:
    """Show what a checkpoint holds and which architectures fit it."""
    with one_line_errors(), ExporterClient(address) as client:
        contents = client.inspect(checkpoint)
        if as_json:
            print_json(_summarised(contents))
        else:
            results.print(tables.contents_table(contents))


@app.command(name="list")
def list_artifacts(
    model: Annotated[Optional[str], typer.Argument(help="Only this model.")] = None,
    address: Address = _ADDRESS,
    as_json: Json = False,
) -> None:
    """List published artifacts."""
    with one_line_errors(), ExporterClient(address) as client:
        manifests, unreadable = client.artifacts(model or "")
        if as_json:
            print_json([_described(manifest) for manifest in manifests])
        else:
            results.print(tables.artifacts_table(manifests))
        for line in unreadable:
            notices.print(f"unreadable: {line}", markup=False)


@app.command()
def delete(
    model: Model,
    version: Annotated[int, typer.Argument(help="Version to remove.", show_default=False)],
    address: Address = _ADDRESS,
    as_json: Json = False,
) -> None:
    """Remove one version of MODEL from the store."""
    with one_line_errors(), ExporterClient(address) as client:
        client.delete(model, version)
        if as_json:
            print_json({"model": model, "version": version})
        else:
            results.print(f"deleted version {version} of {model}", highlight=False)


@app.command()
def architectures(address: Address = _ADDRESS, as_json: Json = False) -> None:
    """List the architectures that can be built."""
    with one_line_errors(), ExporterClient(address) as client:
        found = client.architectures()
        if as_json:
            print_json(found)
        else:
            results.print(tables.architectures_table(found))


def _watched(client: ExporterClient, request: ConversionRequest) -> Manifest:
    """Runs a conversion with a progress bar on standard error, or a line a step in a log."""
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=notices, disable=not notices.is_terminal) as bar:
        task = bar.add_task("connects", total=1.0)
        for event in client.convert(request):
            if isinstance(event, Manifest):
                bar.update(task, completed=1.0, description="done")
                return event
            text = _progress_text(event)
            bar.update(task, completed=event.fraction, description=text)
            if not notices.is_terminal:
                notices.print(f"{event.elapsed:6.1f} s  {text}", markup=False, highlight=False)
    raise errors.RemoteError("the exporter ended the conversion without a manifest")


def _progress_text(event: ConversionProgress) -> str:
    return f"{event.step.value}: {event.message}" if event.message else event.step.value


def _described(manifest: Manifest) -> dict[str, Any]:
    parity = {
        **plain(manifest.parity),
        "passed": manifest.parity.passed,
        "max_absolute_difference": manifest.parity.worst,
    }
    first = {"model": manifest.model, "version": manifest.version}
    return {**first, **plain(manifest), "parity": parity}


def _summarised(contents: CheckpointContents) -> dict[str, Any]:
    return {
        **plain(contents),
        "parameter_count": contents.parameter_count,
        "optimizer_slot_count": contents.optimizer_slot_count,
        "shadow_count": contents.shadow_count,
    }
