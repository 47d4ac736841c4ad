"""Entry point of the inference service; `pbserve` and `python -m inference_service`."""

from __future__ import annotations


def main() -> None:
    """Runs the command line."""
    from inference_service.cli.app import app

    app()


if __name__ == "__main__":
    main()
