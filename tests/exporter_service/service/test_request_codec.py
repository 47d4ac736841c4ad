from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from exporter_service.checkpoints.key_rewrites import KeyRewrite
from exporter_service.client import codec
from exporter_service.formats.extra_format import ExtraFormat
from exporter_service.service import request_codec
from exporter_service.specs.conversion import (
    AdoptionRequest,
    DevicePins,
    FreezingRoute,
    ParityDemand,
    TowerOptions,
)
from pbserve.artifact.v1 import manifest_pb2
from pbserve.exporter.v1 import exporter_pb2 as pb
from service_kit import errors
from service_kit.artifacts.manifest import Augmentation, MovingAverageMode, Preprocessing
from tests.support.digits import digits_request

UNKNOWN: Any = 9
TRAINING = manifest_pb2.AUGMENTATION_TRAINING


def message(**changes: Any) -> pb.ConvertCheckpointRequest:
    fields: dict[str, Any] = {
        "model": "m",
        "checkpoint": "c",
        "architecture": manifest_pb2.ArchitectureSpec(name="densenet"),
    }
    return pb.ConvertCheckpointRequest(**(fields | changes))


def probe(**changes: Any) -> pb.ProbeTensor:
    fields: dict[str, Any] = {"name": "x", "dtype": "uint8", "shape": [1, 2], "content": b"12"}
    return pb.ProbeTensor(**(fields | changes))


def _not_a_number() -> manifest_pb2.ArchitectureSpec:
    spec = manifest_pb2.ArchitectureSpec(name="densenet")
    spec.parameters["reduction"] = float("nan")
    return spec


def test_what_the_client_asks_is_what_the_server_understands() -> None:
    probe = {"": np.arange(6, dtype=np.float32).reshape(1, 2, 3)}
    request = digits_request(
        version=3,
        moving_average=MovingAverageMode.REQUIRED,
        preprocessing=Preprocessing((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), Augmentation.TRAINING),
        towers=TowerOptions(
            3, "cpu", DevicePins.CLEAR, "Tower", "images", "answers", (8, 9), input_dtype="uint8"
        ),
        freezing_route=FreezingRoute.META_GRAPH,
        keep_checkpoint=True,
        formats=(ExtraFormat.ONNX, ExtraFormat.SAVED_MODEL),
        key_map=(KeyRewrite("^a/", "b/"),),
        parity=ParityDemand.BEHIND_AUGMENTATION,
        tolerance=1e-4,
        request_id="once",
        probe=probe,
        class_labels=("crane", "cat", "crane"),
    )
    found = request_codec.conversion_request(codec.conversion_message(request))
    np.testing.assert_array_equal(found.probe[""], probe[""])
    assert replace(found, probe={}) == replace(request, probe={})
    assert found.digest == request.digest


def test_an_adoption_arrives_as_it_was_asked_for() -> None:
    request = AdoptionRequest(
        "m", 2, "a.pb", ("x=a:0",), ("b",), (ExtraFormat.ONNX,), 1e-3, class_labels=("cat", "dog")
    )
    assert request_codec.adoption_request(codec.adoption_message(request)) == request


def test_class_labels_and_their_order_are_a_part_of_what_is_asked_for() -> None:
    labels = [(), ("cat", "dog"), ("dog", "cat"), ("cat, dog",)]
    assert len({digits_request(class_labels=one).digest for one in labels}) == len(labels)


def test_what_is_left_out_has_the_recipes_defaults() -> None:
    request = request_codec.conversion_request(message())
    assert request.version is None
    assert request.towers == TowerOptions()
    assert request.moving_average is MovingAverageMode.AUTO
    assert request.preprocessing is None
    assert request.tolerance == 1e-5
    assert request.class_labels == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": ""}, "model name ''"),
        ({"request_id": "x" * 201}, "request_id is longer"),
        ({"input_dtype": "int8"}, "float32 and uint8"),
        ({"free_image_size": True, "image_size": pb.ImageSize(height=1, width=1)}, "together"),
        ({"scope_prefix": "a b"}, "scope_prefix is 'a b'"),
        ({"input_name": "a/b"}, "input_name is 'a/b'"),
        ({"input_name": "x", "output_name": "x"}, "both 'x'"),
        ({"device_pins": 7}, "device_pins 7"),
        ({"freezing_route": 7}, "freezing_route 7"),
        ({"formats": [0]}, "formats 0"),
        ({"parity": 7}, "parity 7"),
        ({"parity": pb.PARITY_DEMAND_BEHIND_AUGMENTATION}, "was not asked for"),
        ({"tolerance": 0.5}, "tolerance is 0.5"),
        ({"tolerance": float("nan")}, "tolerance is nan"),
        ({"key_map": [pb.KeyRewrite(pattern="a(b")]}, "position 1"),
        ({"key_map": [pb.KeyRewrite(pattern="a")] * 33}, "33 rewrites"),
        ({"preprocessing": manifest_pb2.Preprocessing(augmentation=UNKNOWN)}, "augmentation 9"),
        (
            {
                "preprocessing": manifest_pb2.Preprocessing(augmentation=TRAINING),
                "parity": pb.PARITY_DEMAND_END_TO_END,
            },
            "another answer on every call",
        ),
        ({"probe": [probe(dtype="object")]}, "dtype 'object'"),
        ({"probe": [probe(dtype="nothing")]}, "dtype 'nothing'"),
        ({"probe": [probe(shape=[0, 2])]}, "with the batch as first"),
        ({"probe": [probe(shape=[2**62] * 60_000)]}, "60000 dimensions"),
        ({"probe": [probe(shape=[1] * 17)]}, "17 dimensions"),
        ({"probe": [probe(dtype="f4,,")]}, "dtype 'f4,,'"),
        ({"probe": [probe(content=b"1")]}, "has 1 bytes"),
        ({"probe": [probe(), probe()]}, "two tensors called 'x'"),
        ({"class_labels": ["a", ""]}, r"class_labels\[1\] is blank"),
        ({"class_labels": ["a" * 201]}, r"class_labels\[0\] is 201 characters long: at most 200"),
        ({"class_labels": ["a", "b", "c\nd"]}, r"class_labels\[2\] has control characters: 'c"),
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
        request_codec.conversion_request(message(**changes))


def test_class_labels_of_an_adoption_are_checked_in_the_same_way() -> None:
    asked = pb.AdoptGraphRequest(model="m", graph="a.pb", class_labels=["a", " "])
    with pytest.raises(errors.InvalidRequest, match=r"class_labels\[1\] is blank"):
        request_codec.adoption_request(asked)
