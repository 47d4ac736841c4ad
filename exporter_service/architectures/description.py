"""What can be said of an architecture to those who choose one, as values without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Clients read descriptions, and need not load pydantic for it.
    from exporter_service.architectures.architecture import Architecture, ImageSize


@dataclass(frozen=True, slots=True)
class ArchitectureDescription:
    """An architecture, or a plug-in that is none because of its `error`.

    Attributes:
        name: what requests call it.
        summary: one sentence for people; empty with an error.
        image_size: default height and width in pixels; None with an error.
        parameter_schema: JSON schema of its parameters; empty with an error.
        error: why it cannot be loaded; empty if it can.
    """

    name: str
    summary: str = ""
    image_size: ImageSize | None = None
    parameter_schema: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def describe(architecture: Architecture) -> ArchitectureDescription:
    """Returns the description of an architecture."""
    return ArchitectureDescription(
        name=architecture.name,
        summary=architecture.summary,
        image_size=architecture.image_size,
        parameter_schema=architecture.parameters.model_json_schema(),
    )
