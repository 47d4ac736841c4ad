"""One conversion, step by step: checkpoint -> towers -> restored -> frozen -> checked.

Runs in a process of its own (`conversion_process`), because TensorFlow may crash, leak or
abort there and nowhere else.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from exporter_service import freezing, parity
from exporter_service.architectures.registry import find_architecture
from exporter_service.checkpoint import Checkpoint
from exporter_service.checkpoint_match import check_match
from exporter_service.conversion_order import ConversionOrder
from exporter_service.key_list import counted
from exporter_service.moving_average import RestorePlan, plan_restore
from exporter_service.progress import Progress, Report, Step
from exporter_service.towers import build_towers
from service_kit import __version__, errors
from service_kit.manifest import ArchitectureSpec, Conversion, GraphFile

# Protobuf's own limit for one message.
_LARGEST_GRAPH_BYTES = 2**31 - 1
SINGLE_NAME = "frozen_model.pb"
MULTI_NAME = "multi_frozen_model.pb"


def convert(order: ConversionOrder, folder: Path, report: Report) -> Conversion:
    """Writes the frozen graph into `folder` and returns its description.

    Raises:
        CheckpointCorrupt: the checkpoint's files are damaged.
        CheckpointMismatch: they are those of another model.
        MovingAverageMissing: required averages are absent.
        Unconvertible: the graph cannot be built for that image size, or is too large.
        ParityFailed: the frozen graph computes other numbers than the restored session.
    """
    report(Progress(Step.READ, order.checkpoint.prefix.name))
    checkpoint = Checkpoint(order.checkpoint)
    architecture = find_architecture(order.architecture.name)
    parameters = architecture.parse(order.architecture.parameters)
    variables = architecture.variables(parameters)
    check_match(
        architecture.name,
        variables,
        checkpoint.tensors,
        order.checkpoint.prefix.name,
        order.moving_average,
    )
    plan = plan_restore(
        {name: variable.trainable for name, variable in variables.items()},
        checkpoint.tensors.keys(),
        order.moving_average,
    )

    report(Progress(Step.BUILD, f"{architecture.name}, {order.cards} card(s)"))
    graph = tf.Graph()
    with graph.as_default():
        try:
            towers = build_towers(
                lambda images: architecture.build(images, parameters),
                image_size=order.image_size,
                cards=order.cards,
                device_kind=order.device_kind,
                preprocessing=order.preprocessing,
            )
        except ValueError as error:
            height, width = order.image_size
            raise errors.Unconvertible(
                f"{architecture.name} cannot be built for images of {height}x{width}: {error}"
            ) from error
        built = {variable.op.name: variable for variable in tf.global_variables()}

    with tf.Session(graph=graph, config=session_config()) as session:
        averaged = plan.report.from_shadow
        report(Progress(Step.RESTORE, f"{len(built)} variables, {averaged} moving averages"))
        _restore(session, built, plan, checkpoint)
        probes = parity.probes(towers)
        expected = parity.answers(session, towers, probes)

        report(Progress(Step.FREEZE))
        outputs = [spec.tensor_name for tower in towers for spec in tower.outputs]
        frozen = freezing.freeze_session(session, outputs, keep_devices=order.cards > 1)

    path = folder / (MULTI_NAME if order.cards > 1 else SINGLE_NAME)
    written = _write(frozen, path)
    report(Progress(Step.CHECK, f"{written.node_count} nodes"))
    # The file is what will be served, so the file is what is checked.
    stored = tf.GraphDef.FromString(path.read_bytes())
    proven = parity.check_frozen(stored, towers, probes, expected, session_config())
    return Conversion(
        graph=written,
        checkpoint=checkpoint.origin,
        architecture=ArchitectureSpec(architecture.name, parameters.model_dump(mode="json")),
        moving_average=plan.report,
        preprocessing=order.preprocessing,
        towers=towers,
        parity=proven,
        tool_versions={
            "pbserve": __version__,
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    )


def session_config() -> Any:
    """Returns the configuration of a conversion's sessions.

    They leave the cards to the services that serve; pins in the graph are soft.
    """
    return tf.ConfigProto(allow_soft_placement=True, device_count={"GPU": 0})


def _restore(
    session: Any, built: Mapping[str, Any], plan: RestorePlan, checkpoint: Checkpoint
) -> None:
    """Gives every variable the value of its key, without adding an op to the graph."""
    values = checkpoint.read(plan.key_of[name] for name in built)
    broken = [key for key, value in values.items() if not np.isfinite(value).all()]
    if broken:
        raise errors.Unconvertible(
            "the checkpoint's training has diverged; NaN or infinity in "
            f"{counted(broken)}: take an earlier checkpoint"
        )
    # An initializer assigns its second input; feeding that assigns the value instead.
    session.run(
        [variable.initializer for variable in built.values()],
        {
            variable.initializer.inputs[1]: values[plan.key_of[name]]
            for name, variable in built.items()
        },
    )


def _write(frozen: Any, path: Path) -> GraphFile:
    size = frozen.ByteSize()
    if size > _LARGEST_GRAPH_BYTES:
        raise errors.Unconvertible(
            f"the frozen graph would have {size} bytes; a graph file holds at most "
            f"{_LARGEST_GRAPH_BYTES}"
        )
    # The same graph always gives the same bytes.
    content = frozen.SerializeToString(deterministic=True)
    try:
        path.write_bytes(content)
    except OSError as error:
        raise errors.ScratchUnavailable(
            f"cannot write {len(content)} bytes into the temporary folder: {error.strerror}"
        ) from error
    return GraphFile(
        file_name=path.name,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        node_count=len(frozen.node),
    )
