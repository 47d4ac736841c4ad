"""Converts: `python examples/clients/convert_checkpoint.py HOST:PORT MODEL CHECKPOINT`."""

from __future__ import annotations

import asyncio
import sys
import uuid

from exporter_service.client import AsyncExporterClient
from exporter_service.specs.conversion import ConversionRequest, TowerOptions
from service_kit.artifacts.manifest import ArchitectureSpec, Manifest, Preprocessing

DIGITS = {
    "scope": "densenet_digits",
    "growth_rate": 8,
    "initial_filters": 16,
    "layers": [3, 4, 3],
    "reduction": 0.5,
    "classes": 10,
}


# --8<-- [start:convert]
async def main(address: str, model: str, checkpoint: str) -> None:
    """Prints each step as it begins, and what was published."""
    request = ConversionRequest(
        model=model,
        checkpoint=checkpoint,
        architecture=ArchitectureSpec("densenet", DIGITS),
        towers=TowerOptions(image_size=(32, 32)),
        preprocessing=Preprocessing(mean=(177.26, 109.55, 168.66)),
        # With an id of its own, a conversion is tried again when the exporter goes away.
        request_id=uuid.uuid4().hex,
    )
    async with AsyncExporterClient(address) as exporter:
        async for event in exporter.convert(request):
            if isinstance(event, Manifest):
                print(f"{event.model} version {event.version}: {event.graph.sha256}")
            else:
                print(f"{event.fraction:4.0%} {event.step.value}")


# --8<-- [end:convert]


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
