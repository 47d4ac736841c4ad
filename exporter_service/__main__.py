"""Entry point of the exporter service; `pbexport` and `python -m exporter_service`."""

from __future__ import annotations


def main() -> None:
    """Runs the command line."""
    from exporter_service.cli.app import app

    app()


if __name__ == "__main__":
    main()
