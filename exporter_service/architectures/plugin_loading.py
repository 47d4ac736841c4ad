"""Plug-ins become architectures. For processes that may load TensorFlow, as plug-ins do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from exporter_service.architectures.architecture import Architecture
from exporter_service.architectures.entry_points import described, plugin_entry_point
from exporter_service.architectures.keyword_parameters import parameters_of
from exporter_service.architectures.legacy_keras import provide_legacy_keras
from exporter_service.architectures.plugin import Plugin
from exporter_service.architectures.tracing import TracedBuilder
from service_kit import errors


def load_plugin(name: str) -> Architecture:
    """Imports a plug-in and returns its architecture.

    Raises:
        ArchitectureNotFound: no installed package declares it.
        Unconvertible: it cannot be imported, or is no architecture; the message has its
            module, its package and the error.
    """
    point = plugin_entry_point(name)
    provide_legacy_keras()
    try:
        return _architecture(name, point.load())
    except (Exception, SystemExit) as error:
        raise errors.Unconvertible(
            f"the plug-in {name} ({described(point)}) cannot be loaded: "
            f"{type(error).__name__}: {' '.join(str(error).split())}"
        ) from error


def _architecture(name: str, offered: Any) -> Architecture:
    plugin = offered if isinstance(offered, Plugin) else Plugin(build=offered)
    parameters = plugin.parameters or parameters_of(plugin.build)
    # Listings and manifests need them as JSON, and this is where the author is told.
    parameters.model_json_schema()
    function = plugin.build if plugin.parameters else _by_keywords(plugin.build)
    builder = TracedBuilder(f"the plug-in {name}", function)
    lines = (inspect.getdoc(plugin.build) or "").splitlines()
    return Architecture(
        name=name,
        summary=plugin.summary or (lines[0] if lines else ""),
        image_size=plugin.image_size,
        parameters=parameters,
        plan=builder.variables,
        builder=builder,
        preprocessing=plugin.preprocessing,
        output_name=plugin.output_name,
        traced=True,
    )


def _by_keywords(build: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def call(images: Any, parameters: Any) -> Any:
        names = type(parameters).model_fields
        return build(images, **{name: getattr(parameters, name) for name in names})

    return call
