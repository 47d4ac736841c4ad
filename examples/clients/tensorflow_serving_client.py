"""Asks with the stubs of `tensorflow-serving-api`: `tensorflow_serving_client.py [HOST:PORT]`.

From a fresh clone, with `make serve` and the digits converted. A client of TensorFlow Serving that
exists needs another address, and nothing else.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

GOLDEN = Path(__file__).resolve().parent.parent.parent / "tests" / "golden" / "digits"
MODEL = "digits"
Array = np.ndarray[Any, Any]


# --8<-- [start:predict]
def request(images: Array, signature: str = "") -> predict_pb2.PredictRequest:
    """Returns the request for images, uint8 [images, height, width, 3]."""
    made = predict_pb2.PredictRequest()
    made.model_spec.name = MODEL
    # Empty is serving_default, which any card answers; card_0, card_1, ... are one card each.
    made.model_spec.signature_name = signature
    made.inputs["input"].CopyFrom(tf.make_tensor_proto(images))
    return made


def probabilities(response: predict_pb2.PredictResponse) -> Array:
    """Returns float32 [images, classes]."""
    found: Array = tf.make_ndarray(response.outputs["probs"])
    return found


# --8<-- [end:predict]


# --8<-- [start:describe]
def describe(channel: grpc.Channel) -> None:
    """Prints the versions of the model, and what its signatures take and give."""
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = MODEL
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    for version in models.GetModelStatus(status, timeout=10).model_version_status:
        state = get_model_status_pb2.ModelVersionStatus.State.Name(version.state)
        print(f"version {version.version} is {state}")
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = MODEL
    prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    prediction.GetModelMetadata(asked, timeout=10).metadata["signature_def"].Unpack(signatures)
    for name in sorted(signatures.signature_def):
        signature = signatures.signature_def[name]
        print(f"{name}: {signature.inputs['input'].name} -> {signature.outputs['probs'].name}")


# --8<-- [end:describe]


def main(address: str) -> None:
    """Describes the model, asks one card, then asks for all images."""
    with np.load(GOLDEN / "expected.npz") as golden:
        images, labels = golden["images"], golden["labels"]
    with grpc.insecure_channel(address) as channel:
        describe(channel)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        one = stub.Predict(request(images[:1], "card_1"), timeout=10)
        version = one.model_spec.version.value
        print(f"version {version}, card 1: it is a {probabilities(one)[0].argmax()}")
        found = probabilities(stub.Predict(request(images), timeout=60)).argmax(axis=1)
    print(f"{np.mean(found == labels):.5f} of {len(images)} images are right")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8500")
