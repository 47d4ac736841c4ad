from __future__ import annotations

import pytest

from exporter_service.architectures.description import ArchitectureDescription, describe
from exporter_service.architectures.registry import ARCHITECTURES
from exporter_service.checkpoints.contents import CheckpointContents, StoredTensor
from exporter_service.checkpoints.graph_contents import (
    InputContents,
    MetaGraphContents,
    OutputContents,
    UnregisteredOp,
)
from exporter_service.client import codec as client_codec
from exporter_service.service import codec
from exporter_service.specs.progress import Progress, Step
from pbserve.exporter.v1 import exporter_pb2 as pb
from service_kit.artifacts.manifest import ArchitectureSpec
from tests.support.manifests import conversion


@pytest.mark.parametrize("step", list(Step))
def test_every_step_has_its_word_in_the_contract(step: Step) -> None:
    progress = codec.event_message(Progress(step, "x"), 1.5).progress
    assert pb.ConversionProgress.Step.Name(progress.step) == f"STEP_{step.name}"
    assert progress.elapsed.ToMilliseconds() == 1500
    assert 0 <= progress.fraction < 1


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_an_architecture_describes_its_parameters(name: str) -> None:
    described = codec.architecture_message(describe(ARCHITECTURES[name]))
    assert described.default_image_size.height == 224
    assert "Number of classes." in str(described.parameter_schema)


def test_a_plugin_that_does_not_load_arrives_with_its_problem() -> None:
    broken = ArchitectureDescription("acme/net", error="no module named acme")
    assert client_codec.architecture(codec.architecture_message(broken)) == broken


def test_what_a_checkpoint_holds_arrives_as_it_was_sent() -> None:
    contents = CheckpointContents(
        conversion().checkpoint,
        2,
        {"w": StoredTensor((3, 4), "float32")},
        (ArchitectureSpec("densenet", {"classes": 3}),),
        MetaGraphContents(
            node_count=9,
            inputs=(
                InputContents("a:0", "IteratorGetNext", "uint8", (-1, 2), reaches_output=True),
                InputContents("b:1", "Strange", None, None, reaches_output=False),
            ),
            outputs=(OutputContents("p:0", "Softmax", training=True),),
            batch_norms={"fused, training": 3},
            dropout_count=2,
            towers=("tower_0", "tower_1"),
            unregistered_ops=(UnregisteredOp("n", "Odd", reaches_output=False),),
            averaged_variables=1,
        ),
        "",
    )
    message = codec.contents_message(contents)
    assert client_codec.contents(message) == contents
    assert message.parameter_bytes == 48
