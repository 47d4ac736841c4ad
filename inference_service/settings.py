"""What the inference service can be told, once, when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from inference_service.devices import DeviceRequest, parse_devices
from inference_service.model_rules import ModelDefaults
from service_kit.address import Address
from service_kit.logs import LogFormat


@dataclass(frozen=True, slots=True)
class InferenceSettings:
    """Settings of one inference process."""

    listen: Address
    store: str
    # For models of which the models file says nothing.
    models: ModelDefaults = field(default_factory=ModelDefaults)
    models_file: Path | None = None
    devices: DeviceRequest = field(default_factory=lambda: parse_devices("auto"))
    # Threads inside an op; None: the cores divided among the cards.
    intra_op_threads: int | None = None
    gpu_memory_bytes: int | None = None
    # Whether the store is looked at again, and seconds between two looks.
    watch: bool = True
    poll_seconds: float = 1.0
    strict_readiness: bool = False
    # Requests in flight in one stream before reading from it pauses.
    stream_window: int = 64
    lame_duck_seconds: float = 0.0
    grace_seconds: float = 10.0
    log_format: LogFormat = "console"
    max_message_bytes: int = 64 * 2**20
