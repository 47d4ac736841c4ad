"""DenseNet-169 with random weights, 256x256, two classes, converted and proven."""

from __future__ import annotations

from pathlib import Path

from exporter_service.checkpoints.roots import CheckpointRoots
from exporter_service.specs.conversion import ConversionSpec, TowerOptions
from service_kit.artifacts.manifest import Conversion, MovingAverageMode
from tests.support.digits import convert_and_prove
from tests.support.random_checkpoint import write_random_checkpoint

SIDE = 256


def convert_densenet169(folder: Path, cards: int) -> tuple[Conversion, Path]:
    """Returns the conversion with so many towers, and its graph file below `folder`."""
    checkpoint, made = folder / "checkpoint", folder / f"cards-{cards}"
    checkpoint.mkdir(exist_ok=True)
    made.mkdir()
    architecture = write_random_checkpoint(checkpoint, "densenet169")
    spec = ConversionSpec(
        checkpoint=CheckpointRoots([checkpoint]).locate("."),
        architecture=architecture,
        towers=TowerOptions(cards=cards, image_size=(SIDE, SIDE)),
        moving_average=MovingAverageMode.OFF,
    )
    done = convert_and_prove(spec, made)
    return done, made / done.graph.file_name
