"""Which plug-ins are installed, by name alone: nothing of theirs is imported."""

from __future__ import annotations

import re
from importlib import metadata

from service_kit import errors

GROUP = "pbserve.architectures"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*(/[A-Za-z0-9][A-Za-z0-9_.\-]*)*")


def plugin_names() -> list[str]:
    """Returns the names of all plug-ins that installed packages declare, sorted.

    A plug-in that cannot be loaded is among them; loading it says why.
    """
    return sorted(metadata.entry_points(group=GROUP).names)


def is_plugin(name: str) -> bool:
    """Whether an installed package declares a plug-in of that name."""
    return name in metadata.entry_points(group=GROUP).names


def plugin_entry_point(name: str) -> metadata.EntryPoint:
    """Returns where the plug-in is.

    Raises:
        ArchitectureNotFound: no installed package declares it.
        Unconvertible: several packages do, or the name is not one.
    """
    points = metadata.entry_points(group=GROUP, name=name)
    if not points:
        raise errors.ArchitectureNotFound(f"no installed package declares a plug-in {name!r}")
    if not _NAME.fullmatch(name):
        raise errors.Unconvertible(
            f"the plug-in {name!r} ({described(next(iter(points)))}) needs another name: letters, "
            "digits, '_', '.' and '-', in parts with '/' between"
        )
    # A package can be found twice, by its installation and by its source.
    if len({point.value for point in points}) > 1:
        raise errors.Unconvertible(
            f"several packages declare a plug-in {name!r}: "
            f"{' and '.join(sorted(map(described, points)))}; uninstall all but one"
        )
    return next(iter(points))


def described(point: metadata.EntryPoint) -> str:
    """Returns a plug-in's object and package, for messages."""
    package = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
    return f"{point.value}{package}"
