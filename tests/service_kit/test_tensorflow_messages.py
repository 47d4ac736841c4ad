from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pool
from tensorflow.core.framework import graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2,
    predict_pb2,
    prediction_service_pb2,
)

from service_kit.tensorflow_messages import POOL, GraphDef, message_class

DIGITS = Path(__file__).resolve().parents[1] / "golden/digits/multi.pb"
THEIRS = descriptor_pool.Default()
SERVING = [
    "PredictRequest",
    "PredictResponse",
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "GetModelStatusRequest",
    "GetModelStatusResponse",
    "ReloadConfigRequest",
    "ReloadConfigResponse",
    "SignatureDefMap",
]
# Imported for their descriptors: both kinds are in this process.
assert get_model_metadata_pb2
assert get_model_status_pb2
assert model_management_pb2
assert model_service_pb2
assert prediction_service_pb2


def reached(descriptor: Any, seen: set[str]) -> set[str]:
    """Adds the full names of a message and of all that its fields lead to."""
    if descriptor.full_name not in seen:
        seen.add(descriptor.full_name)
        for field in descriptor.fields:
            if field.message_type:
                reached(field.message_type, seen)
    return seen


@pytest.mark.parametrize(
    "name", ["tensorflow.GraphDef", *(f"tensorflow.serving.{n}" for n in SERVING)]
)
def test_every_field_is_one_of_the_originals(name: str) -> None:
    for one in reached(POOL.FindMessageTypeByName(name), set()):
        ours, theirs = POOL.FindMessageTypeByName(one), THEIRS.FindMessageTypeByName(one)
        assert ours.file.name == theirs.file.name.replace("xla/tsl/", "tensorflow/core/")
        for field in ours.fields:
            original = theirs.fields_by_name[field.name]
            for aspect in ("number", "type", "is_repeated", "is_packed"):
                assert getattr(field, aspect) == getattr(original, aspect), (one, field.name)
            oneofs = [f.containing_oneof and f.containing_oneof.name for f in (field, original)]
            assert oneofs[0] == oneofs[1], (one, field.name)
            if field.enum_type and original.enum_type:
                numbers = {v.name: v.number for v in original.enum_type.values}
                assert {v.name: v.number for v in field.enum_type.values} == numbers


def test_services_have_the_originals_rpcs() -> None:
    for name in ("PredictionService", "ModelService"):
        ours = POOL.FindServiceByName(f"tensorflow.serving.{name}")
        theirs = THEIRS.FindServiceByName(f"tensorflow.serving.{name}")
        for method in ours.methods:
            original = theirs.methods_by_name[method.name]
            assert method.input_type.full_name == original.input_type.full_name
            assert method.output_type.full_name == original.output_type.full_name


def test_a_graph_goes_to_and_fro_beside_tensorflows_own_messages() -> None:
    content = DIGITS.read_bytes()
    ours, theirs = GraphDef.FromString(content), graph_pb2.GraphDef.FromString(content)
    again = graph_pb2.GraphDef.FromString(ours.SerializeToString())
    assert again == theirs
    assert ours.node[0].name == theirs.node[0].name
    assert type(ours) is not type(theirs)


def test_what_is_not_written_down_is_kept() -> None:
    original = graph_pb2.GraphDef()
    node = original.node.add(name="n", op="Const")
    node.experimental_debug_info.original_node_names.append("kept")
    original.debug_info.files.append("also")
    passed_on = GraphDef.FromString(original.SerializeToString()).SerializeToString()
    assert graph_pb2.GraphDef.FromString(passed_on) == original


def test_a_request_of_tensorflows_stubs_is_read() -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.version.value = "m", 3
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.arange(3, dtype=np.float32)))
    found = message_class("tensorflow.serving.PredictRequest").FromString(
        request.SerializeToString()
    )
    assert (found.model_spec.name, found.model_spec.version.value) == ("m", 3)
    assert np.frombuffer(found.inputs["x"].tensor_content, np.float32).tolist() == [0, 1, 2]
