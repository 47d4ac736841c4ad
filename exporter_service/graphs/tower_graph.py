"""What a conversion restores, freezes and checks, wherever it was built from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from exporter_service.checkpoints.moving_average import RestorePlan
from exporter_service.specs.probes import Probe, shaped_as
from service_kit.artifacts.manifest import ArchitectureSpec, MetaGraphReport, Preprocessing, Tower


def _whole(_: str, value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class TowerGraph:
    """Towers with variables that have no values yet.

    Attributes:
        graph: the TensorFlow graph.
        towers: its tensors.
        plan: variable name -> checkpoint key.
        architecture: what was built, every parameter spelled out.
        preprocessing: what the towers do to images.
        image_size: height and width to probe with where the graph leaves them open.
        pixels: the inputs are images of 0..255; otherwise their range is not known.
        part: from a variable's name and its key's value to the variable's value, for variables
            that are a part of what is saved under their key.
        statistics: moving statistics of batch norms.
        behind: tower index -> the tensor behind the augmentation, for graphs that have one.
        meta_graph: what was done to a training graph; None for an architecture.
        evaluation_copy: the evaluation copy of the same net, if there is one to compare with.
        max_batch: most images that a tower takes in one run; 0: any number.
        warnings: sentences for the user.
    """

    graph: Any
    towers: tuple[Tower, ...]
    plan: RestorePlan
    architecture: ArchitectureSpec
    preprocessing: Preprocessing
    image_size: tuple[int, int] | None = None
    pixels: bool = True
    part: Callable[[str, Any], Any] = _whole
    statistics: frozenset[str] = frozenset()
    behind: Mapping[int, str] = field(default_factory=dict)
    meta_graph: MetaGraphReport | None = None
    evaluation_copy: TowerGraph | None = None
    max_batch: int = 0
    warnings: tuple[str, ...] = ()

    def probed_as(self, probe: Probe) -> TowerGraph:
        """Returns the same towers, with the sizes of a caller's probe where they leave any open."""
        towers = tuple(replace(one, inputs=shaped_as(probe, one.inputs)) for one in self.towers)
        return replace(self, towers=towers)
