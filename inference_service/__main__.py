"""Entry point of the inference service; `pbserve` and `python -m inference_service`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference_service.settings import InferenceSettings


def run(settings: InferenceSettings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        PbserveError: the service cannot start: address, files, store or devices.
    """
    # Only the server needs its parts; the command line's client starts faster without.
    from inference_service.composition import serve

    asyncio.run(serve(settings))


def main() -> None:
    """Runs the command line."""
    from inference_service.cli import app

    app()


if __name__ == "__main__":
    main()
