"""Which servable a ModelSpec means, and what is said when there is none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from inference_service.models.registry import Registry
from inference_service.models.servable import Servable
from service_kit import errors


@dataclass(frozen=True, slots=True)
class Asked:
    """A model and, if they are named, a version (0: none is) or a label of it."""

    model: str
    version: int = 0
    label: str = ""

    @contextlib.contextmanager
    def servable(self, registry: Registry) -> Iterator[Servable]:
        """Yields what is served; raises as `missing_as_tensorflow_serving` says."""
        with (
            self.missing_as_tensorflow_serving(registry),
            registry.lease(self.model, self.version, self.label) as found,
        ):
            yield found

    @contextlib.contextmanager
    def missing_as_tensorflow_serving(self, registry: Registry) -> Iterator[None]:
        """Turns what the registry raises into TensorFlow Serving's statuses and words.

        Clients compare the words as a whole, so that nothing follows them.

        Raises:
            VersionNotFound: nothing is served now; with a time to retry while it is loading.
            InvalidRequest: there is no such label.
        """
        try:
            yield
        except (
            errors.ModelNotFound,
            errors.VersionNotFound,
            errors.LabelNotFound,
            errors.ModelUnavailable,
        ) as error:
            raise self._missing(registry, error.retry_after) from error

    def _missing(self, registry: Registry, retry_after: float | None) -> errors.PbserveError:
        version = self.version
        if self.label:
            version = self._labelled(registry)
            if not version:
                return errors.InvalidRequest(f"Unrecognized servable version label: {self.label}")
        return servable_not_found(self.model, version, retry_after)

    def _labelled(self, registry: Registry) -> int:
        try:
            return registry.status(self.model).labels.get(self.label, 0)
        except errors.ModelNotFound:
            return 0


def servable_not_found(
    model: str, version: int, retry_after: float | None = None
) -> errors.VersionNotFound:
    """Returns the error in TensorFlow Serving's words; `version` 0 is the latest one."""
    what = f"Specific({model}, {version})" if version else f"Latest({model})"
    return errors.VersionNotFound(
        f"Servable not found for request: {what}", retry_after=retry_after
    )


def asked(request: Any) -> Asked:
    """Returns what the `model_spec` of a request names.

    Raises:
        InvalidRequest: there is no ModelSpec, or it has no name.
        VersionNotFound: its version is below 0.
    """
    spec = check_spec(request)
    choice = spec.WhichOneof("version_choice")
    if choice == "version":
        version = int(spec.version.value)
        if version < 0:
            raise errors.VersionNotFound(
                f"Servable not found for request: Specific({spec.name}, {version})"
            )
        # Clients that always send the field (ovmsclient) mean by 0 that they name none.
        return Asked(spec.name, version=version)
    if choice == "version_label":
        if not spec.version_label:
            raise errors.InvalidRequest("Unrecognized servable version label: ")
        return Asked(spec.name, label=spec.version_label)
    return Asked(spec.name)


def check_spec(request: Any) -> Any:
    """Returns the `model_spec` of a request; raises `InvalidRequest` as `asked`."""
    if not request.HasField("model_spec"):
        raise errors.InvalidRequest("Missing ModelSpec")
    spec = request.model_spec
    if not spec.name:
        raise errors.InvalidRequest("ModelSpec has no name specified.")
    return spec
