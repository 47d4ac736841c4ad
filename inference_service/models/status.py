"""What is known of a model and its versions at one moment."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from inference_service.models.servable import Servable
from service_kit import errors


class State(enum.Enum):
    """What the server does with a version."""

    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """A version's state, the error of a load that failed, and its servable while it has one.

    Beside a version that is served the error is that of a newer publication under its number.
    `retry_in` are the seconds until a failed load is tried again; None: it is not.
    """

    version: int
    state: State
    error: errors.PbserveError | None = None
    servable: Servable | None = None
    leases: int = 0
    retry_in: float | None = None

    @property
    def reason(self) -> str:
        """Why it failed; empty: it did not."""
        return str(self.error) if self.error else ""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model's versions in order, and its labels; `default_version` is 0 when none is served."""

    name: str
    default_version: int
    versions: tuple[VersionStatus, ...]
    labels: Mapping[str, int]
