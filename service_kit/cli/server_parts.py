"""What a program says when it is to serve, and its installation has the clients alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import util

from service_kit import errors

_OURS = ("service_kit", "exporter_service", "inference_service", "pbserve")


@contextlib.contextmanager
def server_parts(install: str) -> Iterator[None]:
    """Turns a package that is missing in the block's imports into one line.

    Args:
        install: what to do about it.

    Raises:
        InvalidRequest: a package of others is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _OURS:
            raise
        raise errors.InvalidRequest(
            f"{install}; this installation is for clients, it has no {missing}"
        ) from None


def check_installed(package: str, install: str) -> None:
    """Raises `InvalidRequest`, which says what to do, unless the package is there."""
    if util.find_spec(package) is None:
        raise errors.InvalidRequest(f"{install}; this installation has no {package}")
