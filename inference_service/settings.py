"""What the inference service can be told, once, when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from inference_service.engine.devices import DeviceRequest, parse_devices
from inference_service.loading.rules import ModelDefaults
from service_kit.server.serving_settings import Serving


@dataclass(frozen=True, slots=True)
class InferenceSettings:
    """Settings of one inference process."""

    serving: Serving
    store: str
    # Whether to start on a folder only that has the mark of a store.
    require_store_mark: bool = False
    # Where graphs of an object store are kept (None: the user's cache), and how many bytes.
    store_cache: Path | None = None
    store_cache_bytes: int = 10 * 2**30
    # What has to survive a crash of the process; None: the user's folder for such things.
    state: Path | None = None
    # For models of which the models file says nothing.
    models: ModelDefaults = field(default_factory=ModelDefaults)
    models_file: Path | None = None
    devices: DeviceRequest = field(default_factory=lambda: parse_devices("auto"))
    # Threads inside an op; None: the cores divided among the cards.
    intra_op_threads: int | None = None
    gpu_memory_bytes: int | None = None
    # Ops that graphs may have besides those that only compute.
    allowed_ops: frozenset[str] = frozenset()
    # Whether the store is looked at again, and seconds between two looks.
    watch: bool = True
    poll_seconds: float = 1.0
    # What a load may take before it has failed; None: any time.
    load_seconds: float | None = 600.0
    strict_readiness: bool = False
    # Images in one request.
    max_request_images: int = 16384
    # Requests in flight in one stream before reading from it pauses.
    stream_window: int = 64
    # Whether clients of this machine may register shared memory; beyond loopback they never may.
    shared_memory: bool = True
    # Whether the metrics' address has a page for people, too.
    status_page: bool = True
