"""Settings of single models, from a YAML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from inference_service.loading.policy import KEEP_ALL, KEEP_NONE, Keep
from service_kit import errors
from service_kit.artifacts.model_name import checked_label, checked_model_name
from service_kit.files.settings_file import LONGEST_KEY, parse_settings

_MEBIBYTE = 2**20
_LATEST = re.compile(r"latest ([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What the file says of one model; None: the server's own setting holds.

    Attributes:
        keep: which versions to serve.
        labels: label -> version.
        batch_limit: images in one batch, instead of what is measured.
        max_batch_size: images in the largest batch that warming tries.
        max_queue_delay: seconds that a request may wait for company.
        queue_images: images outstanding on a card.
        queue_bytes: bytes of inputs outstanding on a card.
        max_elements: of the inputs of one request, and of one batch.
        pad_batches: whether batches are padded to the sizes of warming.
        replicate: whether devices without a tower run copies of tower 0.
        unload_first: whether the old version is freed before the new one is loaded.
    """

    keep: Keep | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    batch_limit: int | None = None
    max_batch_size: int | None = None
    max_queue_delay: float | None = None
    queue_images: int | None = None
    queue_bytes: int | None = None
    max_elements: int | None = None
    pad_batches: bool | None = None
    replicate: bool | None = None
    unload_first: bool | None = None


_NOTHING = ModelSettings()


@dataclass(frozen=True, slots=True)
class ModelsFile:
    """The settings of models by name."""

    models: Mapping[str, ModelSettings] = field(default_factory=dict)

    def settings(self, model: str) -> ModelSettings:
        """Returns what the file says of a model; nothing, if it does not name it."""
        return self.models.get(model, _NOTHING)


EMPTY = ModelsFile()


def _keep(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str) and (latest := _LATEST.fullmatch(value)):
        return Keep("latest", int(latest[1]))
    if value in ("all", "none"):
        return KEEP_ALL if value == "all" else KEEP_NONE
    if isinstance(value, list) and value and all(_is_version(one) for one in value):
        return Keep("specific", versions=frozenset(value))
    raise ValueError("write latest N, all, none, or a list of versions like [3, 5]")


def _is_version(value: Any) -> bool:
    return type(value) is int and 1 <= value < 2**63


def _named(check: Any) -> AfterValidator:
    def checked(name: str) -> str:
        try:
            check(name[:LONGEST_KEY])
        except errors.InvalidRequest as error:
            raise ValueError(error.message) from None
        return name

    return AfterValidator(checked)


_Batch = Annotated[int, Field(ge=1, le=4096)]
_Images = Annotated[int, Field(ge=1, le=10**9)]
_Version = Annotated[int, Field(ge=1, lt=2**63)]
_Label = Annotated[str, _named(checked_label)]
_ModelName = Annotated[str, _named(checked_model_name)]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)

    versions: Annotated[Keep | None, BeforeValidator(_keep)] = None
    labels: dict[_Label, _Version] | None = None
    batch_limit: _Batch | None = None
    max_batch_size: _Batch | None = None
    max_queue_delay_ms: Annotated[float, Field(ge=0, le=60_000)] | None = None
    queue_images: _Images | None = None
    queue_mb: Annotated[int, Field(ge=1, le=2**20)] | None = None
    max_elements: Annotated[int, Field(ge=1, le=2**62)] | None = None
    pad_batches: bool | None = None
    replicate: bool | None = None
    unload_first: bool | None = None


class _File(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    models: dict[_ModelName, _Model | None] | None = None


def parse_models_file(text: str, where: str) -> ModelsFile:
    """Returns the settings in a file.

    Args:
        text: its content.
        where: its name, for errors.

    Raises:
        InvalidRequest: it is no YAML, or a setting is unknown or out of range; says which ones.
    """
    found = parse_settings(_File, text, where, parts=[_Model])
    models = found.models or {}
    return ModelsFile({name: _settings(model) for name, model in models.items() if model})


def _settings(model: _Model) -> ModelSettings:
    delay = model.max_queue_delay_ms
    return ModelSettings(
        keep=model.versions,
        labels=model.labels or {},
        batch_limit=model.batch_limit,
        max_batch_size=model.max_batch_size,
        max_queue_delay=None if delay is None else delay / 1e3,
        queue_images=model.queue_images,
        queue_bytes=None if model.queue_mb is None else model.queue_mb * _MEBIBYTE,
        max_elements=model.max_elements,
        pad_batches=model.pad_batches,
        replicate=model.replicate,
        unload_first=model.unload_first,
    )
