"""Entry point of the exporter service; `pbexport` and `python -m exporter_service`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter_service.settings import ExporterSettings


def run(settings: ExporterSettings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        PbserveError: the service cannot start: address, store or checkpoint root.
    """
    # Only the server needs its parts; the command line's client starts faster without.
    from exporter_service.composition import serve

    asyncio.run(serve(settings))


def main() -> None:
    """Runs the command line."""
    from exporter_service.cli import app

    app()


if __name__ == "__main__":
    main()
