"""Towers of an architecture, built anew for a checkpoint's weights."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow.compat.v1 as tf

from exporter_service.architectures.checkpoint_match import check_match
from exporter_service.architectures.registry import find_architecture
from exporter_service.checkpoints.contents import StoredTensor
from exporter_service.checkpoints.key_list import counted
from exporter_service.checkpoints.moving_average import plan_restore
from exporter_service.graphs.preprocessing import AUGMENTED
from exporter_service.graphs.tower_graph import TowerGraph
from exporter_service.graphs.towers import build_towers
from exporter_service.specs.conversion import ConversionSpec
from exporter_service.specs.progress import Progress, Report, Step
from service_kit import errors
from service_kit.artifacts.manifest import ArchitectureSpec, Augmentation


def architecture_graph(
    spec: ConversionSpec, tensors: Mapping[str, StoredTensor], report: Report
) -> TowerGraph:
    """Builds the architecture that is asked for.

    Args:
        spec: what to build.
        tensors: the checkpoint's tensors, by the names that the spec's key map gives them.
        report: is told when building begins.

    Raises:
        ArchitectureNotFound, InvalidParameters: as the request named them.
        CheckpointMismatch: the checkpoint is that of another model.
        MovingAverageMissing: required averages are absent.
        Unconvertible: it cannot be built for that image size.
    """
    architecture = find_architecture(spec.architecture.name)
    parameters = architecture.parse(spec.architecture.parameters)
    size = spec.towers.image_size or architecture.image_size
    variables = architecture.variables(parameters, size)
    check_match(
        architecture.name,
        variables,
        tensors,
        spec.checkpoint.prefix.name,
        spec.moving_average,
        spec.key_map,
    )
    plan = plan_restore(
        {name: variable.trainable for name, variable in variables.items()},
        tensors.keys(),
        spec.moving_average,
    )
    report(Progress(Step.BUILD, f"{architecture.name}, {spec.towers.cards} card(s)"))
    preprocessing = spec.preprocessing or architecture.preprocessing
    graph = tf.Graph()
    with graph.as_default():
        try:
            towers = build_towers(
                lambda images: architecture.build(images, parameters),
                image_size=size,
                options=spec.towers,
                preprocessing=preprocessing,
                output_name=spec.towers.output_name or architecture.output_name,
            )
        except ValueError as error:
            raise errors.Unconvertible(
                f"{architecture.name} cannot be built for images of {size[0]}x{size[1]}: {error}"
            ) from error
        unplanned = [v.op.name for v in tf.global_variables() if v.op.name not in plan.key_of]
    if unplanned:
        raise errors.Unconvertible(
            f"{architecture.name} makes other variables each time it is built: {counted(unplanned)}"
        )
    behind = {}
    if preprocessing.augmentation is Augmentation.TRAINING:
        behind = {
            tower.index: f"{tower.scope}/{AUGMENTED}:0" if tower.scope else f"{AUGMENTED}:0"
            for tower in towers
        }
    return TowerGraph(
        graph=graph,
        towers=towers,
        plan=plan,
        architecture=ArchitectureSpec(architecture.name, parameters.model_dump(mode="json")),
        preprocessing=preprocessing,
        image_size=size,
        behind=behind,
        statistics=frozenset(
            name for name in variables if name.endswith(("/moving_mean", "/moving_variance"))
        ),
        warnings=plan.warnings,
    )
