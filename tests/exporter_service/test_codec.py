from __future__ import annotations

from typing import Any

import pytest

from exporter_service import codec
from exporter_service.architectures.registry import ARCHITECTURES
from exporter_service.client import _message
from exporter_service.progress import Progress, Step
from pbserve.artifact.v1 import manifest_pb2
from pbserve.exporter.v1 import exporter_pb2 as pb
from service_kit import errors
from service_kit.manifest import MovingAverageMode
from tests.support.digits import digits_request


def message(**changes: Any) -> pb.ConvertCheckpointRequest:
    fields: dict[str, Any] = {
        "model": "m",
        "checkpoint": "c",
        "architecture": manifest_pb2.ArchitectureSpec(name="densenet"),
    }
    return pb.ConvertCheckpointRequest(**(fields | changes))


def _not_a_number() -> manifest_pb2.ArchitectureSpec:
    spec = manifest_pb2.ArchitectureSpec(name="densenet")
    spec.parameters["reduction"] = float("nan")
    return spec


def test_what_the_client_asks_is_what_the_server_understands() -> None:
    request = digits_request(version=3, moving_average=MovingAverageMode.REQUIRED)
    assert codec.conversion_request(_message(request)) == request


def test_what_is_left_out_has_the_recipes_defaults() -> None:
    request = codec.conversion_request(message())
    assert (request.version, request.cards, request.device_kind) == (None, 1, "gpu")
    assert request.moving_average is MovingAverageMode.AUTO
    assert request.image_size is None
    assert request.preprocessing.mean == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": ""}, "model name ''"),
        ({"version": -1}, "version is -1"),
        ({"cards": -1}, "cards is -1: 1 to 64"),
        ({"cards": 65}, "cards is 65"),
        ({"architecture": manifest_pb2.ArchitectureSpec()}, "architecture has no name"),
        ({"image_size": pb.ImageSize(height=0, width=9)}, "image_size is 0x9"),
        ({"image_size": pb.ImageSize(height=9, width=8193)}, "image_size is 9x8193"),
        ({"device_kind": 9}, "device_kind 9"),
        ({"architecture": _not_a_number()}, "architecture.parameters: "),
        ({"moving_average": 9}, "moving_average 9"),
        ({"preprocessing": manifest_pb2.Preprocessing(mean=[1e39, 0, 0])}, "finite as float32"),
        ({"preprocessing": manifest_pb2.Preprocessing(scale=[1, 0, 1])}, "scale has a 0"),
        ({"preprocessing": manifest_pb2.Preprocessing(mean=[1])}, r"preprocessing.mean is \[1"),
        (
            {"preprocessing": manifest_pb2.Preprocessing(scale=[1, float("nan"), 1])},
            "3 numbers that are finite",
        ),
    ],
)
def test_a_field_out_of_range_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=words):
        codec.conversion_request(message(**changes))


@pytest.mark.parametrize("step", list(Step))
def test_every_step_has_its_word_in_the_contract(step: Step) -> None:
    progress = codec.event_message(Progress(step, "x"), 1.5).progress
    assert pb.ConversionProgress.Step.Name(progress.step) == f"STEP_{step.name}"
    assert progress.elapsed.ToMilliseconds() == 1500
    assert 0 <= progress.fraction < 1


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_an_architecture_describes_its_parameters(name: str) -> None:
    described = codec.architecture_message(ARCHITECTURES[name])
    assert described.default_image_size.height == 224
    assert "Number of classes." in str(described.parameter_schema)
