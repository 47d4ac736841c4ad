"""`pbserve serve`: the service's settings as options and environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inference_service.addresses import DEFAULT_ADDRESS, DEFAULT_METRICS_ADDRESS
from service_kit.cli.console import one_line_errors
from service_kit.cli.option_group import by_topic
from service_kit.cli.server_parts import server_parts
from service_kit.cli.serving_options import SERVING_TOPICS, serving_options
from service_kit.server.serving_settings import Serving

_MEBIBYTE = 2**20
_MAX_MESSAGE_MB = 64
_INSTALL = "install an engine: `pip install 'pbserve[server]'`, or for CPUs 'pbserve[openvino]'"


_TOPICS = {
    "Store": (
        *("store", "require_store_mark", "store_cache", "store_cache_mb", "state"),
        *("watch", "poll"),
    ),
    "Models": ("models_file", "strict_readiness", "load_timeout", "unload_first", "allow_op"),
    "Cards": (
        *("devices", "engine", "engine_cache", "replicate", "intra_op_threads", "gpu_memory_mb"),
    ),
    "Batches and queues": (
        *("max_batch_size", "max_queue_delay", "queue_images", "queue_mb"),
        *("max_elements", "max_request_images", "stream_window"),
    ),
    **SERVING_TOPICS,
    "Page and shared memory": ("status_page", "shared_memory"),
}


@by_topic(_TOPICS)
@serving_options("PBSERVE", DEFAULT_ADDRESS, DEFAULT_METRICS_ADDRESS, _MAX_MESSAGE_MB)
def serve(
    serving: Serving,
    store: Annotated[
        str, typer.Option(envvar="PBSERVE_STORE", help="Artifact store: a path or fsspec URL.")
    ] = "./models",
    require_store_mark: Annotated[
        bool,
        typer.Option(
            "--require-store-mark",
            envvar="PBSERVE_REQUIRE_STORE_MARK",
            help="Do not start on a folder without .pbserve-store, which may be an empty mount "
            "point.",
        ),
    ] = False,
    store_cache: Annotated[
        Path | None,
        typer.Option(
            envvar="PBSERVE_STORE_CACHE",
            help="Folder for graphs of an object store, each downloaded once; may be shared.",
            show_default="~/.cache/pbserve",
        ),
    ] = None,
    store_cache_mb: Annotated[
        int,
        typer.Option(
            envvar="PBSERVE_STORE_CACHE_MB",
            min=1,
            help="MiB that the cache may have; what was used longest ago goes first.",
        ),
    ] = 10240,
    state: Annotated[
        Path | None,
        typer.Option(
            envvar="PBSERVE_STATE",
            help="Folder for what has to survive a crash: which artifacts were being loaded.",
            show_default="~/.local/state/pbserve",
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch/--no-watch",
            envvar="PBSERVE_WATCH",
            help="Look at the store again and again, or at the start and on `pbserve load` only.",
        ),
    ] = True,
    poll: Annotated[
        float,
        typer.Option(envvar="PBSERVE_POLL", min=0.01, help="Seconds between looks at the store."),
    ] = 1.0,
    load_timeout: Annotated[
        float,
        typer.Option(
            envvar="PBSERVE_LOAD_TIMEOUT", min=0, help="Seconds that a load may take; 0: no limit."
        ),
    ] = 600.0,
    models_file: Annotated[
        Path | None,
        typer.Option(
            envvar="PBSERVE_MODELS_FILE",
            help="YAML file with settings of single models; read again when it changes.",
            show_default="none",
        ),
    ] = None,
    strict_readiness: Annotated[
        bool,
        typer.Option(
            "--strict-readiness",
            envvar="PBSERVE_STRICT_READINESS",
            help="Not ready while a version that should be served has failed to load.",
        ),
    ] = False,
    devices: Annotated[
        str,
        typer.Option(
            envvar="PBSERVE_DEVICES",
            help="Devices of the cards: auto (every GPU, else a CPU lane a core), gpu:0,gpu:2, "
            "or cpu:N.",
        ),
    ] = "auto",
    engine: Annotated[
        str,
        typer.Option(
            envvar="PBSERVE_ENGINE",
            help="What runs the graphs: tensorflow, openvino, a name that an installed package "
            "declares, or auto: on the CPU OpenVINO where it is installed and answers as the "
            "artifact says, else TensorFlow.",
        ),
    ] = "auto",
    engine_cache: Annotated[
        Path | None,
        typer.Option(
            envvar="PBSERVE_ENGINE_CACHE",
            help="Folder for what OpenVINO compiles, so that the next start need not; only its "
            "owner may write it. It is made if it is not there.",
            show_default="none",
        ),
    ] = None,
    replicate: Annotated[
        bool,
        typer.Option(
            "--replicate/--no-replicate",
            envvar="PBSERVE_REPLICATE",
            help="Run copies of tower 0 on devices that have no tower.",
        ),
    ] = True,
    intra_op_threads: Annotated[
        int | None,
        typer.Option(
            envvar="PBSERVE_INTRA_OP_THREADS",
            min=1,
            max=1024,
            help="Threads inside an operation.",
            show_default="cores divided by cards",
        ),
    ] = None,
    gpu_memory_mb: Annotated[
        int | None,
        typer.Option(
            envvar="PBSERVE_GPU_MEMORY_MB",
            min=1,
            help="MiB to take on each GPU, at most.",
            show_default="as needed",
        ),
    ] = None,
    allow_op: Annotated[
        list[str] | None,
        typer.Option(
            envvar="PBSERVE_ALLOW_OP",
            help="Op that graphs may have besides those that only compute; may be repeated.",
            show_default="none",
        ),
    ] = None,
    max_batch_size: Annotated[
        int,
        typer.Option(
            envvar="PBSERVE_MAX_BATCH_SIZE",
            min=1,
            max=4096,
            help="Images in the largest batch that is tried when a version is warmed; the limit "
            "is where images per second stop growing.",
        ),
    ] = 32,
    max_queue_delay: Annotated[
        float,
        typer.Option(
            envvar="PBSERVE_MAX_QUEUE_DELAY",
            min=0,
            max=60,
            help="Seconds that a request may wait for others to share its batch.",
        ),
    ] = 0.0,
    queue_images: Annotated[
        int,
        typer.Option(envvar="PBSERVE_QUEUE_IMAGES", min=1, help="Images outstanding on a card."),
    ] = 1024,
    queue_mb: Annotated[
        int,
        typer.Option(envvar="PBSERVE_QUEUE_MB", min=1, help="MiB of inputs outstanding on a card."),
    ] = 256,
    max_elements: Annotated[
        int | None,
        typer.Option(
            envvar="PBSERVE_MAX_ELEMENTS",
            min=1,
            help="Numbers in the inputs of one request, and of one batch, of any model.",
            show_default="by memory, for models of images of any size",
        ),
    ] = None,
    unload_first: Annotated[
        bool,
        typer.Option(
            "--unload-first",
            envvar="PBSERVE_UNLOAD_FIRST",
            help="Free the old version before the new one is loaded: for memory that does not "
            "hold both. The model has no answers meanwhile.",
        ),
    ] = False,
    max_request_images: Annotated[
        int,
        typer.Option(envvar="PBSERVE_MAX_REQUEST_IMAGES", min=1, help="Images in one request."),
    ] = 16384,
    stream_window: Annotated[
        int,
        typer.Option(
            envvar="PBSERVE_STREAM_WINDOW", min=1, help="Requests in flight in one stream."
        ),
    ] = 64,
    shared_memory: Annotated[
        bool,
        typer.Option(
            "--shared-memory/--no-shared-memory",
            envvar="PBSERVE_SHARED_MEMORY",
            help="Let clients register shared memory, if only this machine reaches the port.",
        ),
    ] = True,
    status_page: Annotated[
        bool,
        typer.Option(
            "--status-page/--no-status-page",
            envvar="PBSERVE_STATUS_PAGE",
            help="Show a page with what is served, and a form for one image, where metrics are.",
        ),
    ] = True,
) -> None:
    """Run the inference service until SIGTERM or Ctrl-C.

    The environment sets every option as well: PBSERVE_MAX_CALLS is --max-calls.
    """
    with one_line_errors():
        # The server's imports are not the client's.
        with server_parts(_INSTALL):
            from inference_service.composition import run
            from inference_service.engine.devices import parse_devices
            from inference_service.loading.rules import ModelDefaults
            from inference_service.settings import InferenceSettings

        run(
            InferenceSettings(
                serving=serving,
                store=store,
                require_store_mark=require_store_mark,
                store_cache=store_cache,
                store_cache_bytes=store_cache_mb * _MEBIBYTE,
                state=state,
                models=ModelDefaults(
                    max_batch_size=max_batch_size,
                    max_queue_delay=max_queue_delay,
                    queue_images=queue_images,
                    queue_bytes=queue_mb * _MEBIBYTE,
                    max_elements=max_elements or 0,
                    replicate=replicate,
                    unload_first=unload_first,
                ),
                models_file=models_file,
                devices=parse_devices(devices),
                engine=engine,
                engine_cache=engine_cache,
                intra_op_threads=intra_op_threads,
                allowed_ops=frozenset(allow_op or ()),
                gpu_memory_bytes=None if gpu_memory_mb is None else gpu_memory_mb * _MEBIBYTE,
                watch=watch,
                poll_seconds=poll,
                load_seconds=load_timeout or None,
                strict_readiness=strict_readiness,
                max_request_images=max_request_images,
                stream_window=stream_window,
                shared_memory=shared_memory,
                status_page=status_page,
            )
        )
