"""Converts the golden checkpoint from Python: `python examples/convert_digits.py [HOST:PORT]`.

Asks the exporter of `make serve`, whose checkpoint root has it as `ckpt_ema`.
"""

from __future__ import annotations

import sys

from exporter_service.client import ExporterClient
from exporter_service.specs.conversion import ConversionRequest, TowerOptions
from service_kit.artifacts.manifest import ArchitectureSpec, Manifest, Preprocessing

# --8<-- [start:request]
REQUEST = ConversionRequest(
    model="digits",
    checkpoint="ckpt_ema",
    architecture=ArchitectureSpec(
        "densenet",
        {
            "scope": "densenet_digits",
            "growth_rate": 8,
            "initial_filters": 16,
            "layers": [3, 4, 3],
            "reduction": 0.5,
            "classes": 10,
        },
    ),
    towers=TowerOptions(image_size=(32, 32), cards=2),
    preprocessing=Preprocessing(mean=(177.26, 109.55, 168.66)),
)
# --8<-- [end:request]


# --8<-- [start:convert]
def convert(address: str) -> Manifest:
    """Prints each step as it begins; returns what was published."""
    with ExporterClient(address) as exporter:
        for event in exporter.convert(REQUEST):
            if isinstance(event, Manifest):
                return event
            print(f"{event.elapsed:6.1f} s  {event.step.value} {event.message}")
    raise RuntimeError("the exporter ended the conversion without a manifest")


# --8<-- [end:convert]


if __name__ == "__main__":
    published = convert(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8600")
    print(f"{published.model} version {published.version}, {published.graph.node_count} nodes")
