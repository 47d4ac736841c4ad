"""Which engines there are, by name: two of ours, and those that installed packages declare.

A package declares one under the entry point group `pbserve.engines`: a callable that takes
`EngineSettings` and returns `Engines`. Nothing of an engine is imported before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, util

from inference_service.engine import Engines
from inference_service.engine.engine_settings import EngineSettings
from inference_service.engine.lazy import LazyEngines
from inference_service.engine.openvino import OpenVINOEngines
from service_kit import errors

GROUP = "pbserve.engines"
AUTO, TENSORFLOW, OPENVINO = "auto", "tensorflow", "openvino"
INSTALL = (
    "install one: `pip install 'pbserve[openvino]'` for the CPU, `pip install 'pbserve[server]'` "
    "for TensorFlow"
)


@dataclass(frozen=True, slots=True)
class InstalledEngine:
    """An engine that can be made here; `version` is that of its package, empty: not known."""

    name: str
    version: str
    make: Callable[[EngineSettings], Engines]


def installed_engines() -> dict[str, InstalledEngine]:
    """Returns the engines by name; a package cannot take the name of one of ours."""
    found = {point.name: _declared(point) for point in metadata.entry_points(group=GROUP)}
    found.pop(AUTO, None)
    for name, make in ((TENSORFLOW, _tensorflow), (OPENVINO, OpenVINOEngines)):
        found.pop(name, None)
        if util.find_spec(name) is not None:
            found[name] = InstalledEngine(name, _version(name), make)
    return found


def find_engine(name: str) -> InstalledEngine:
    """Returns one engine.

    Raises:
        InvalidRequest: it is not installed, or there is no such engine.
    """
    found = installed_engines()
    if name in found:
        return found[name]
    if name in (TENSORFLOW, OPENVINO):
        raise errors.InvalidRequest(f"{INSTALL}; --engine {name} is not installed here")
    known = ", ".join([AUTO, *sorted(found)])
    raise errors.InvalidRequest(f"choose one of {known}: there is no engine {name!r}")


def _declared(point: metadata.EntryPoint) -> InstalledEngine:
    def make(settings: EngineSettings) -> Engines:
        try:
            made: Engines = point.load()(settings)
        # It is somebody else's code, which may raise anything.
        except Exception as error:
            raise errors.InvalidRequest(
                f"repair or uninstall the package of the engine {point.name!r} ({point.value}): "
                f"it cannot be loaded: {error!r}"
            ) from error
        return made

    return InstalledEngine(point.name, point.dist.version if point.dist else "", make)


def _tensorflow(settings: EngineSettings) -> Engines:
    return LazyEngines(
        settings.request,
        cores=settings.cores,
        threads=settings.threads,
        gpu_memory_bytes=settings.gpu_memory_bytes,
        allowed_ops=settings.allowed_ops,
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        # Installed under another name, as `tensorflow-cpu`.
        return ""
