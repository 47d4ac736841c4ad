"""Describes the installed plug-ins; runs in a process of its own, because it imports them."""

from __future__ import annotations

from exporter_service.architectures.description import ArchitectureDescription, describe
from exporter_service.architectures.entry_points import plugin_names
from exporter_service.architectures.plugin_loading import load_plugin
from exporter_service.architectures.registry import is_reserved
from exporter_service.specs.progress import Report
from service_kit import errors


def describe_plugins(report: Report) -> list[ArchitectureDescription]:  # noqa: ARG001 - a task's
    """Returns a description of every installed plug-in, those that cannot be loaded included."""
    return [_describe(name) for name in plugin_names()]


def _describe(name: str) -> ArchitectureDescription:
    if is_reserved(name):
        problem = f"pbserve has an architecture {name} of its own: the plug-in needs another name"
        return ArchitectureDescription(name, error=problem)
    try:
        return describe(load_plugin(name))
    except errors.PbserveError as error:
        return ArchitectureDescription(name, error=str(error))
