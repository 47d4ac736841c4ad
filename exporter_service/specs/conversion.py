"""What a conversion is asked to do, as values that reach its process."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from exporter_service.checkpoints.key_rewrites import KeyRewrite
from exporter_service.checkpoints.roots import CheckpointLocation
from exporter_service.formats.extra_format import ExtraFormat
from exporter_service.specs.probes import Probe
from service_kit.artifacts.manifest import ArchitectureSpec, MovingAverageMode, Preprocessing

DeviceKind = Literal["gpu", "cpu"]
# The same ops on the same machine; the bar that the recipe's numbers have to meet as well.
TOLERANCE = 1e-5


class DevicePins(enum.Enum):
    """Whether nodes keep the devices that their tower asks for."""

    # Kept with several towers, cleared with one.
    RECIPE = "RECIPE"
    KEEP = "KEEP"
    CLEAR = "CLEAR"


class FreezingRoute(enum.Enum):
    """The way in which variables become constants."""

    SESSION = "SESSION"
    META_GRAPH = "META_GRAPH"


class ParityDemand(enum.Enum):
    """What the check must show; ANY is end to end wherever that can be shown."""

    ANY = "ANY"
    END_TO_END = "END_TO_END"
    BEHIND_AUGMENTATION = "BEHIND_AUGMENTATION"


@dataclass(frozen=True, slots=True)
class TowerOptions:
    """How the towers look.

    Attributes:
        cards: number of towers, at least 1.
        device_kind: what several towers are pinned to.
        device_pins: whether the pins stay.
        scope_prefix: name scope of several towers, before `_<i>`.
        input_name: of a single input; empty: `input`.
        output_name: of a single output; empty: what the architecture calls it.
        image_size: (height, width) in pixels; None: the default.
        free_image_size: images may have any size.
        input_dtype: `float32`, `uint8`, or empty for the default.
    """

    cards: int = 1
    device_kind: DeviceKind = "gpu"
    device_pins: DevicePins = DevicePins.RECIPE
    scope_prefix: str = "Card"
    input_name: str = ""
    output_name: str = ""
    image_size: tuple[int, int] | None = None
    free_image_size: bool = False
    input_dtype: str = ""

    @property
    def keeps_pins(self) -> bool:
        """Whether nodes of the frozen graph have devices."""
        if self.device_pins is DevicePins.RECIPE:
            return self.cards > 1
        return self.device_pins is DevicePins.KEEP

    def scope(self, index: int) -> str:
        """Returns a tower's name scope; a single tower has none."""
        return f"{self.scope_prefix}_{index}" if self.cards > 1 else ""

    def device(self, index: int) -> str:
        """Returns the device that a tower asks for; empty for none."""
        asks = self.cards > 1 or self.device_pins is DevicePins.KEEP
        return f"/{self.device_kind}:{index}" if asks else ""


@dataclass(frozen=True, slots=True)
class _Options:
    """What a request and its spec have in common."""

    architecture: ArchitectureSpec
    moving_average: MovingAverageMode = MovingAverageMode.AUTO
    # None: the architecture's own.
    preprocessing: Preprocessing | None = None
    towers: TowerOptions = TowerOptions()
    freezing_route: FreezingRoute = FreezingRoute.SESSION
    keep_checkpoint: bool = False
    formats: tuple[ExtraFormat, ...] = ()
    key_map: tuple[KeyRewrite, ...] = ()
    parity: ParityDemand = ParityDemand.ANY
    tolerance: float = TOLERANCE
    probe: Probe = field(default_factory=dict)
    # One a class; empty: not known.
    class_labels: tuple[str, ...] = ()
    # Outputs need not have one row an image.
    unbatched: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRequest(_Options):
    """A validated request."""

    model: str
    checkpoint: str
    version: int | None = None
    request_id: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of everything that is asked for but the id, hexadecimal."""
        asked = {
            one.name: getattr(self, one.name) for one in fields(self) if one.name != "request_id"
        }
        return hashlib.sha256(_canonical(asked).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionSpec(_Options):
    """What the conversion's own process needs to know of a request."""

    checkpoint: CheckpointLocation


@dataclass(frozen=True, slots=True)
class AdoptionRequest:
    """A validated request to adopt a frozen graph."""

    model: str
    version: int | None
    graph: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    formats: tuple[ExtraFormat, ...] = ()
    tolerance: float = TOLERANCE
    probe: Probe = field(default_factory=dict)
    class_labels: tuple[str, ...] = ()
    unbatched: bool = False
    # `shapes` and `bindings`, as `FrozenGraphParameters` describes them.
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AdoptionSpec:
    """What the adoption's own process needs to know of a request."""

    graph: Path
    request: AdoptionRequest
    # As it may be told to others; empty: its name.
    shown: str = ""


def spec_of(request: ConversionRequest, checkpoint: CheckpointLocation) -> ConversionSpec:
    """Returns the spec of a request whose checkpoint has been located."""
    options = {one.name: getattr(request, one.name) for one in fields(_Options)}
    return ConversionSpec(checkpoint=checkpoint, **options)


def _canonical(value: Any) -> str:
    """Returns one text for equal values, whatever order their mappings have."""
    if is_dataclass(value):
        return _canonical({one.name: getattr(value, one.name) for one in fields(value)})
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{_canonical(value[key])}' for key in sorted(value))}}}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_canonical, value))}]"
    if hasattr(value, "tobytes"):
        return f"{value.dtype}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}"
    return repr(value)
